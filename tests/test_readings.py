"""Sensors: a model with a `Normalize` becomes firmware that takes raw readings, and is proved from these on."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightning_esp import Deployment, Detector, Simulation, Streaming, export, read_bundle, simulate, verify_bundle
from lightning_esp.bundle import Bundle, pack_image, read_image, read_model
from lightning_esp.bundle.naming import readings_path
from lightning_esp.bundle.readings import unpack_readings
from lightning_esp.cli.main import main
from lightning_esp.detection import Keyword
from lightning_esp.errors import BundleError, ConfigurationError, DataError, LightningEspError, ProofError
from lightning_esp.frontend import Normalize
from lightning_esp.verification import TaskResult
from tests.models.pieces import CausalConv

UNITS = torch.tensor([[1013.0, 12.0], [21.5, 4.0], [-0.002, 0.0005]])
"""Mean and deviation of pressure, temperature and strain."""


def readings(count: int = 4) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    raw = [torch.randn(3, 60 + 10 * index, generator=generator) for index in range(count)]
    return [UNITS[:, 1:] * each + UNITS[:, :1] for each in raw]


def network(normalize: nn.Module | None = None) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [CausalConv(3, 8, 3), nn.ReLU(), CausalConv(8, 4, 3)]
    return nn.Sequential(*([] if normalize is None else [normalize]), *layers).eval()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Bundle]:
    module = network(Normalize.fit(readings()))
    options = {"streaming": Streaming(window=4, stages=2, frame_period=0.02)}
    deployment = Deployment(labels=("a", "b", "c", "d"), detector=Detector(threshold=0.4, average=2))
    place = tmp_path_factory.mktemp("sensor") / "bundle"
    return module, export(module, readings(), place, ["esp32s3", "esp32p4"], deployment=deployment, **options)  # type: ignore[arg-type]


def copy_of(bundle: Bundle, place: Path) -> Bundle:
    import shutil

    shutil.copytree(bundle.path, place)
    return read_bundle(place)


def test_the_normalisation_is_taken_out_of_the_network(exported: tuple[nn.Module, Bundle]) -> None:
    module, bundle = exported
    front_end = module[0]  # type: ignore[index]
    assert isinstance(front_end, Normalize), "the user's module stays as it is"
    assert bundle.manifest["frontend"] == front_end.describe()
    names = [proof["name"] for proof in bundle.manifest["proofs"]]
    assert names.count("raw readings give the network's integers, value for value") == 2
    first = read_model(bundle).stages[0].inputs[0]
    assert first.exponent >= -7, "normalised values, not pressures, are quantized"
    header = (bundle.path / "components/lesp_model/esp32s3/model_config.hpp").read_text()
    assert "inline constexpr float kMean[] = {101" in header
    assert ".normalization = kNormalization," in header
    assert "kFrontEnd = {};" in header, "no audio in a sensor's firmware"


def test_simulation_takes_raw_readings(exported: tuple[nn.Module, Bundle]) -> None:
    module, bundle = exported
    recording = readings()[1]
    with torch.no_grad():
        offline = module(recording[None])[0]
    found = simulate(bundle, recording)
    assert found.shape == offline.shape
    assert float(10 * torch.log10(offline.square().mean() / (found - offline).square().mean())) > 20
    # Whole recordings, frames one by one, and normalised ones for the network alone give the same.
    simulation = Simulation(bundle)
    steps = [simulation.step(recording[None, :, t : t + 1]) for t in range(recording.shape[1])]
    stepped = torch.cat([*steps, simulation.flush()], 2)[0]
    assert torch.equal(stepped, found[:, : stepped.shape[1]])
    alone = Simulation(read_model(bundle)).run(module[0](recording[None])[0])  # type: ignore[index]
    assert torch.equal(alone, found)
    traced = simulation.trace(recording, ["input"] if "input" in simulation.tensors else simulation.tensors[:1])
    assert all(len(values) for values in traced.values())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (torch.zeros(2, 40), r"3 channels on axis 1, and got shape \[1, 2, 40\]"),
        (torch.zeros(40, 3), r"give it channel_axis=2"),
        (torch.full((3, 40), float("nan")), "NaN or infinite"),
        (torch.zeros(40), r"but the model takes \[3, "),
    ],
    ids=["channels", "turned", "nan", "axes"],
)
def test_wrong_readings_are_refused(exported: tuple[nn.Module, Bundle], wrong: Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        simulate(exported[1], wrong)


def test_golden_readings_are_checked_again(exported: tuple[nn.Module, Bundle], tmp_path: Path) -> None:
    bundle = exported[1]
    for found in verify_bundle(bundle).values():
        assert any("raw readings" in proof.name and proof.figure == 0 for proof in found.proofs)
    changed = copy_of(bundle, tmp_path / "changed")
    place = readings_path("esp32s3", bundle.name)
    data = bytearray((changed.path / place).read_bytes())
    values = np.frombuffer(data, "<f4", offset=16)
    values[0] += np.float32(12.0)
    rewrite(changed, place, bytes(data))
    with pytest.raises(ProofError, match=r"raw readings give .* window 0 of tensor"):
        verify_bundle(changed.path)
    rewrite(changed, place, bytes(data[:-4]))
    with pytest.raises(ProofError, match="the header is what the manifest makes"):
        verify_bundle(changed.path)
    for wrong in (data[:-4], b"LEA1" + data[4:], data[:10], data[:4] + b"\0" * 12):
        with pytest.raises(BundleError, match=r"golden readings|do not belong together"):
            unpack_readings(bytes(wrong), "file", (500, 4, 3))


def test_another_mean_in_the_manifest_is_found(exported: tuple[nn.Module, Bundle], tmp_path: Path) -> None:
    changed = copy_of(exported[1], tmp_path / "changed")
    manifest = json.loads((changed.path / "manifest.json").read_text())
    for value, error in (([1.0, 2.0, 3.0], ProofError), ([1.0], LightningEspError), ("x", BundleError)):
        manifest["frontend"]["mean"] = value
        (changed.path / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(error):
            verify_bundle(changed.path)


def rewrite(bundle: Bundle, name: str, data: bytes) -> None:
    """Write a file together with its hash."""
    import hashlib

    (bundle.path / name).write_bytes(data)
    manifest = json.loads((bundle.path / "manifest.json").read_text())
    manifest["files"][name] = hashlib.sha256(data).hexdigest()
    (bundle.path / "manifest.json").write_text(json.dumps(manifest))


def test_a_container_holds_means_and_factors(exported: tuple[nn.Module, Bundle]) -> None:
    module, bundle = exported
    front_end = module[0]  # type: ignore[index]
    image = read_image(pack_image(bundle))
    assert image.front_end == {
        "kind": "Normalize",
        "mean": front_end.mean.tolist(),
        "factor": front_end.factor.tolist(),
    }


def test_simulate_reads_csv_and_npy(
    exported: tuple[nn.Module, Bundle], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, recording = exported[1], readings()[2].T.numpy()
    np.save(tmp_path / "r.npy", recording)
    np.savetxt(tmp_path / "r.csv", recording, delimiter=",", header="hPa,C,strain", comments="", fmt="%.9g")
    told = []
    for name in ("r.csv", "r.npy"):
        assert main(["simulate", str(bundle.path), str(tmp_path / name)]) == 0
        told.append(capsys.readouterr().out)
    assert told[0] == told[1]
    assert f"in {len(recording) * 0.02:.3f} s, {len(recording)} output frames, esp32p4" in told[0]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("r.csv", "a,b\n1,2\n", "give 3 columns"),
        ("r.csv", "a,b,c\n1,2,x\n", "holds no numbers in columns"),
        ("r.csv", "1,2,3\n1,nan,3\n", "nan in frame 1, channel 1"),
        ("r.csv", "a,b,c\n", "0 frames of readings"),
        ("r.npy", "no array", "cannot be read"),
        ("r.wav", "", "it takes frames of 3 values, give a .csv or .npy file"),
    ],
    ids=["columns", "text", "nan", "empty", "npy", "wav"],
)
def test_simulate_refuses_other_files(
    exported: tuple[nn.Module, Bundle],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    text: str,
    message: str,
) -> None:
    (tmp_path / name).write_text(text)
    assert main(["simulate", str(exported[1].path), str(tmp_path / name)]) != 0
    assert message in capsys.readouterr().err


def test_a_front_end_given_apart_makes_the_same_bundle(exported: tuple[nn.Module, Bundle], tmp_path: Path) -> None:
    module, bundle = exported
    front_end = module[0]  # type: ignore[index]
    deployment = Deployment(labels=("a", "b", "c", "d"), detector=Detector(threshold=0.4, average=2))
    streaming = Streaming(window=4, stages=2, frame_period=0.02)
    apart = export(
        network(), readings(), tmp_path / "b", streaming=streaming, deployment=deployment, front_end=front_end
    )
    assert apart.manifest["frontend"] == bundle.manifest["frontend"]
    recording = readings()[0]
    assert torch.equal(simulate(apart, recording), simulate(bundle, recording, "esp32s3"))


class TimeFirst(nn.Module):
    """`[batch, time, channels]`, as recurrent networks take it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.rnn, self.head = (
            Normalize(*UNITS.T, channel_axis=2),
            nn.GRU(3, 6, batch_first=True),
            nn.Linear(6, 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(self.norm(x))[0])  # type: ignore[no-any-return]


def test_channels_may_come_last_and_metrics_see_raw_readings(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, turned = TimeFirst().eval(), [each.T.contiguous() for each in readings()]
    seen: list[Tensor] = []

    def evaluate(stream: nn.Module) -> TaskResult:
        seen.append(stream(turned[0][None]))
        return TaskResult({}, {}, (), ())

    bundle = export(module, turned, tmp_path / "bundle", evaluate=evaluate)
    assert torch.equal(seen[0][0], simulate(bundle, turned[0]))


def test_streams_of_readings_are_judged(tmp_path: Path) -> None:
    module = network(Normalize.fit(readings()))
    deployment = Deployment(labels=("a", "b", "c", "d"), detector=Detector(threshold="auto"))
    streams = [(torch.cat(readings(), 1), (Keyword(0.5, 1.5, "a"),))]
    bundle = export(
        module,
        readings(),
        tmp_path / "b",
        streaming=Streaming(frame_period=0.02),
        deployment=deployment,
        streams=streams,
    )
    assert bundle.manifest["targets"]["esp32s3"]["stream_evaluation"]["streams"] == 1


class Late(nn.Module):
    """Normalises what a layer has made: that stays in the network."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = CausalConv(3, 3, 2), Normalize([0.1] * 3, [2.0] * 3), CausalConv(3, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(self.first(x)))  # type: ignore[no-any-return]


def test_one_that_is_not_first_stays_inside_and_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    recordings = [(each - UNITS[:, :1]) / UNITS[:, 1:] for each in readings()]
    bundle = export(Late().eval(), recordings, tmp_path / "bundle")
    assert bundle.manifest["frontend"] is None
    assert "Normalize 'norm' stays inside the network" in caplog.text
    assert simulate(bundle, recordings[0]).shape == (2, 60)


class Plain(nn.Module):
    """Constants of the training data at the front, as many write them."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", UNITS[:, :1].clone())
        self.register_buffer("std", UNITS[:, 1:].clone())
        self.net = network()

    def forward(self, x: Tensor) -> Tensor:
        return self.net((x - self.mean) / self.std)  # type: ignore[no-any-return, operator]


def test_plain_arithmetic_is_told_by_the_call(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It fails today, since the quantizer divides by a constant that becomes 0; the message that comes first says what to do."""
    with pytest.raises(LightningEspError):
        export(Plain().eval(), readings(), tmp_path / "bundle")
    shown = "lightning_esp.frontend.Normalize(mean=[1013, 21.5, -0.002], scale=[12, 4, 0.0005], channel_axis=1) lets the firmware"
    assert shown in caplog.text
    assert "Plain begins with (x - mean) / scale of 3 channels" in caplog.text


def test_a_frame_of_more_values_than_channels_is_refused(tmp_path: Path) -> None:
    class Grid(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.conv = Normalize(*UNITS.T), nn.Conv2d(3, 4, (1, 2))

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(self.norm(x))  # type: ignore[no-any-return]

    recordings = [torch.randn(3, 40 + index, 2) * UNITS[:, 1:, None] + UNITS[:, :1, None] for index in range(2)]
    with pytest.raises(ConfigurationError, match="a frame of the network's input 'x' holds 6 values"):
        export(Grid().eval(), recordings, tmp_path / "bundle")


def test_a_copy_computes_the_same() -> None:
    front_end = Normalize.fit(readings())
    assert torch.equal(copy.deepcopy(front_end)(readings()[0][None]), front_end(readings()[0][None]))


def test_the_page_says_what_the_firmware_takes(exported: tuple[nn.Module, Bundle]) -> None:
    page = (exported[1].path / "report.html").read_text()
    assert "The firmware takes raw readings of 3 channels" in page
