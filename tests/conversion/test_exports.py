"""Converted models on their whole way: quantized, proved against the float model and in integers, and as bundles."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_esp import Deployment, Quantization, Streaming, calibrate, convert, export, quantize, simulate
from lightning_esp.conversion import Recording
from lightning_esp.errors import DeviceSafetyError, NotCausalError
from lightning_esp.quantization import Worker
from lightning_esp.verification.verify import prove_float, prove_integers
from tests.cpp.host_build import build, copy_with_scripts, run
from tests.cpp.script import read_golden
from tests.models.architectures import NAMED, Named, SqueezeExcite
from tests.models.contracts import GatedCell, TwoCaches
from tests.models.pieces import CausalConv, Function, randomise
from tests.models.proved import KEEP_RANGE, as_tuple, batched, prove
from tests.support.host import needs_cmake

LENGTHS = (70, 44, 61)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def recordings_of(named: Named) -> list[Tensor]:
    return [named.recording(frames, seed=frames).float()[0] for frames in LENGTHS]


EXPORTED: Mapping[str, Named] = {
    **{name: named for name, named in NAMED.items() if name != "squeeze_excite"},
    "squeeze_excite": Named(lambda: SqueezeExcite(lambda x: F.gelu(x, approximate="tanh")), (1, 1, 24, 6)),
}


@pytest.mark.parametrize("strides", [None, 3])
@pytest.mark.parametrize("name", EXPORTED)
def test_the_well_known_architectures_are_proved_in_integers(worker: Worker, name: str, strides: int | None) -> None:
    named = EXPORTED[name]
    module, recordings = named.module().float(), recordings_of(named)
    stride = convert(module, recordings[0], Streaming(time_axis=named.axis)).spec.stride
    window = None if strides is None else strides * stride
    prove(module, recordings, worker, Streaming(time_axis=named.axis, window=window))


def test_what_only_the_float_stream_can_do_is_refused_with_a_replacement(worker: Worker) -> None:
    """GELU is a table in int8, and has no form in int16."""
    named = NAMED["squeeze_excite"]
    int16 = Quantization(precision="int16")
    with pytest.raises(DeviceSafetyError, match=r"Erf .*use nn\.GELU\(approximate='tanh'\)"):
        prove(named.module().float(), recordings_of(named), worker, quantization=int16)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPORTED)
def test_the_well_known_architectures_become_bundles(tmp_path: Path, name: str) -> None:
    named = EXPORTED[name]
    module, recordings = named.module().float(), recordings_of(named)
    bundle = export(module, recordings, tmp_path / "bundle", streaming=Streaming(time_axis=named.axis))
    assert all(proof["passed"] for proof in bundle.manifest["proofs"])
    with torch.no_grad():
        assert as_tuple(simulate(bundle, recordings[0]))[0].shape == module(recordings[0].unsqueeze(0))[0].shape


class TwoStreams(nn.Module):
    """Two microphones and an embedding that is held for a whole recording."""

    def __init__(self) -> None:
        super().__init__()
        self.microphone, self.reference = CausalConv(4, 6, 3), CausalConv(2, 6, 5, dilation=2)
        self.speaker, self.head = nn.Linear(5, 6), nn.Conv1d(12, 3, 1)

    def forward(self, mic: Tensor, reference: Tensor, speaker: Tensor) -> tuple[Tensor, Tensor]:
        y = torch.relu(self.microphone(mic) - self.reference(reference))
        gain = torch.sigmoid(self.speaker(speaker))[:, :, None]
        spread = gain.expand(-1, -1, y.shape[-1])
        return self.head(torch.cat([y, spread], dim=1)), y * gain


def two_streams() -> tuple[nn.Module, list[Recording]]:
    recordings: list[Recording] = [
        {"mic": noise(4, n, seed=n), "reference": noise(2, n, seed=n + 1), "speaker": noise(5, seed=n + 2)}
        for n in LENGTHS
    ]
    return randomise(TwoStreams(), 0).float(), recordings


def firmware_cases() -> dict[str, tuple[nn.Module, Sequence[Recording], Streaming]]:
    """What the C++ must tell apart: inputs of two kinds, a start value, a delay, two rates, mixed forms, LSTM states."""
    recordings = [noise(4, n, seed=n) for n in LENGTHS]
    started = Function(START["constant"], conv=nn.Conv1d(4, 3, 3, dilation=2))
    ahead = nn.Sequential(nn.Conv1d(4, 6, 5, padding=2), nn.ReLU(), nn.Conv1d(6, 3, 3, padding=1))
    return {
        "streams": (*two_streams(), Streaming(window=2)),
        "started": (randomise(started, 0).float(), recordings, Streaming()),
        "ahead": (randomise(ahead, 0).float(), recordings, Streaming(lookahead=3)),
        "rates": (randomise(TwoRates(), 0).float(), recordings, Streaming(window=4)),
        "mixed": (randomise(Mixed(), 0).float(), recordings, Streaming()),
        "lstm": (NAMED["lstm"].module().float(), recordings_of(NAMED["lstm"]), Streaming(time_axis=1)),
    }


@pytest.mark.slow
@needs_cmake
def test_the_firmware_replays_converted_models(tmp_path: Path) -> None:
    copies = []
    for name, (module, recordings, streaming) in firmware_cases().items():
        deployment = Deployment(name=name)
        options = {"streaming": streaming, "quantization": KEEP_RANGE, "deployment": deployment}
        bundle = export(module, recordings, tmp_path / name, **options)  # type: ignore[arg-type]
        copies.append(copy_with_scripts(bundle, "esp32s3", read_golden(bundle, "esp32s3"), tmp_path / "scripts" / name))
    programs = build(tmp_path / "build", copies)
    for copied in copies:
        for program in ("replay", "checks"):
            done = run(programs / f"{program}_{copied.name}")
            assert done.returncode == 0, done.stdout + done.stderr
            assert "PASS" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize("window", [1, 4])
def test_several_streams_and_a_held_input_are_proved_by_name(worker: Worker, window: int) -> None:
    module, recordings = two_streams()
    quantized = prove(module, recordings, worker, Streaming(window=window))
    assert {tensor.name: tensor.time_axis is None for tensor in quantized.stages[0].inputs} == {
        "mic": False,
        "reference": False,
        "speaker": True,
    }


def test_several_streams_and_a_held_input_become_a_bundle(tmp_path: Path) -> None:
    module, recordings = two_streams()
    streaming = Streaming(window=2, inputs={"speaker": "held"})
    bundle = export(module, recordings, tmp_path / "bundle", streaming=streaming, quantization=KEEP_RANGE)
    assert bundle.manifest["streaming"]["inputs"] == [
        {"kind": "stream", "name": "mic"},
        {"kind": "stream", "name": "reference"},
        {"kind": "held", "name": "speaker"},
    ]
    assert bundle.manifest["streaming"]["outputs"] == ["output_0", "output_1"]
    named = batched(recordings[1])
    shuffled = {name: recordings[1][name] for name in ("speaker", "reference", "mic")}  # type: ignore[call-overload]
    with torch.no_grad():
        for offline, found in zip(module(**named), simulate(bundle, shuffled), strict=True):
            assert found.shape == offline[0].shape
            assert float((found - offline[0]).abs().max()) < 0.1 * float(offline.abs().max())


class Mixed(nn.Module):
    """Plain layers around submodules with streaming forms of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = CausalConv(4, 8, 3)
        self.hand_written = nn.ModuleList([TwoCaches(), GatedCell()])
        self.head = CausalConv(4, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = x + self.hand_written[0](x)
        return self.head(self.hand_written[1](x))


def test_a_hand_written_submodule_inside_a_plain_model_is_proved(worker: Worker) -> None:
    recordings = [noise(4, n, seed=n) for n in LENGTHS]
    quantized = prove(randomise(Mixed(), 0).float(), recordings, worker)
    names = [cache.tensor.name for cache in quantized.stages[0].caches]
    names += [tensor.name for tensor in quantized.stages[0].native_caches]
    assert {name.rpartition(".")[0] for name in names} == {"stem", "hand_written.0", "hand_written.1", "head"}


def test_a_look_ahead_is_proved_with_its_delay(worker: Worker) -> None:
    recordings = [noise(4, n, seed=n) for n in LENGTHS]
    module = randomise(
        nn.Sequential(nn.Conv1d(4, 6, 5, padding=2), nn.ReLU(), nn.Conv1d(6, 3, 3, padding=1)), 0
    ).float()
    with pytest.raises(NotCausalError, match="needs 3 frame"):
        prove(module, recordings, worker)
    model = convert(module, recordings[0], Streaming(lookahead=3))
    prove_float(module, model, recordings)
    quantized = quantize(model, calibrate(model, recordings), KEEP_RANGE, worker=worker)
    assert all(proof.passed for proof in prove_integers(quantized, recordings, worker).proofs)
    assert quantized.spec.delay == 3


Forward = Callable[..., Tensor]
LEAST = Function(
    lambda m, x: m.conv(F.max_pool1d(F.pad(x, (2, 0), value=-100.0), 3, stride=1)), conv=nn.Conv1d(4, 3, 1)
)


def test_padding_beyond_the_integers_is_less_than_anything(worker: Worker) -> None:
    recordings = [noise(4, n, seed=n) for n in LENGTHS]
    quantized = prove(randomise(LEAST, 0).float(), recordings, worker)
    (cache,) = quantized.stages[0].caches
    assert cache.initial == -128


START: dict[str, Forward] = {
    "constant": lambda m, x: m.conv(F.pad(x, (4, 0), value=-1.25)),
    "zeros in front of a sigmoid": lambda m, x: m.conv(torch.sigmoid(F.pad(x, (4, 0)))),
}


@pytest.mark.parametrize("name", START)
def test_padding_that_is_not_zero_is_an_explicit_start_value(worker: Worker, name: str) -> None:
    recordings = [noise(4, n, seed=n) for n in LENGTHS]
    module = randomise(Function(START[name], conv=nn.Conv1d(4, 3, 3, dilation=2)), 0).float()
    quantized = prove(module, recordings, worker)
    (cache,) = quantized.stages[0].caches
    value = {"constant": -1.25, "zeros in front of a sigmoid": 0.5}[name]
    assert cache.initial * 2.0**cache.tensor.exponent == value
    assert not quantized.stages[0].native_caches


def test_the_start_value_stands_in_the_manifest_and_in_the_header(tmp_path: Path) -> None:
    recordings = [noise(4, n, seed=n) for n in LENGTHS]
    module = randomise(Function(START["constant"], conv=nn.Conv1d(4, 3, 3, dilation=2)), 0).float()
    bundle = export(module, recordings, tmp_path / "bundle", quantization=KEEP_RANGE)
    (cache,) = bundle.manifest["targets"]["esp32s3"]["stages"][0]["caches"]
    assert cache["initial"] * 2.0 ** cache["exponent"] == -1.25
    header = (bundle.path / "components" / "lesp_model" / "esp32s3" / "model_config.hpp").read_text()
    assert str(cache["initial"]) in header
    found = simulate(bundle, recordings[1])
    assert isinstance(found, Tensor)
    with torch.no_grad():
        offline = module(recordings[1].unsqueeze(0))[0]
    # From the first frame on.
    assert float((found - offline).abs().max()) < 0.05 * float(offline.abs().max())


def parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(shape))


CONSTANTS: dict[str, tuple[Forward, dict[str, nn.Module | nn.Parameter]]] = {
    "a number per channel in front": (
        lambda m, x: m.conv(F.pad((x - m.mean) * m.scale, (2, 0))),
        {"conv": nn.Conv1d(4, 6, 3), "mean": parameter(4, 1), "scale": parameter(1, 4, 1)}),
    "a number per channel behind a bias": (
        lambda m, x: torch.relu(m.conv(F.pad(x, (2, 0))) + m.shift),
        {"conv": nn.Conv1d(4, 6, 3), "shift": parameter(1, 6, 1)}),
    "one constant in two layouts": (
        lambda m, x: m.conv(F.pad(x * m.scale, (2, 0))) + m.norm((x * m.scale).mT).mT,
        {"conv": nn.Conv1d(4, 4, 3), "scale": parameter(4, 1), "norm": nn.LayerNorm(4)}),
    "a number per channel of an image": (
        lambda m, x: (m.conv(F.pad(x.unsqueeze(1), (2, 0, 1, 1))) * m.scale).flatten(1, 2),
        {"conv": nn.Conv2d(1, 3, 3), "scale": parameter(3, 1, 1)}),
    "a number per bin of an image": (
        lambda m, x: m.conv(F.pad(x.unsqueeze(1) + m.shift, (2, 0, 1, 1))).flatten(1, 2),
        {"conv": nn.Conv2d(1, 3, 3), "shift": parameter(1, 1, 4, 1)}),
}  # fmt: skip


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants_meet_their_own_channels(worker: Worker, name: str) -> None:
    function, layers = CONSTANTS[name]
    # As many frames as channels, where a constant that meets the wrong axis would fit.
    recordings = [noise(4, n, seed=n) for n in LENGTHS]
    prove(randomise(Function(function, **layers), 0).float(), recordings, worker, Streaming(window=4))


class TwoRates(nn.Module):
    """An output per frame and one per two frames, of different length and delay."""

    def __init__(self) -> None:
        super().__init__()
        self.fast, self.slow = nn.Conv1d(4, 3, 3), nn.Conv1d(4, 2, 4, stride=2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.fast(x), self.slow(x)


@pytest.mark.parametrize("window", [2, 6])
def test_outputs_of_different_rate_are_proved(worker: Worker, window: int) -> None:
    recordings = [noise(4, n, seed=n) for n in LENGTHS]
    quantized = prove(randomise(TwoRates(), 0).float(), recordings, worker, Streaming(window=window))
    assert [port.frames for port in quantized.spec.outputs] == [window, window // 2]
