"""Validation streams: thresholds chosen at the export, and what float and integers hear."""

from __future__ import annotations

import builtins
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from lightning_esp import Deployment, EspStreamingExport, Quantization, Streaming, export
from lightning_esp.bundle import pack_image, read_image
from lightning_esp.config import Detector
from lightning_esp.conversion import convert
from lightning_esp.detection import Keyword, StreamDataset, ValidationStreams, resolve_settings
from lightning_esp.detection.stream_evaluation import StreamEvaluator
from lightning_esp.detection.stream_figures import evaluate_streams
from lightning_esp.detection.validation_streams import read_item
from lightning_esp.errors import ConfigurationError, DataError, ProofError
from lightning_esp.frontend import FixedPointFrontEnd, LogMel
from lightning_esp.inspection import verify_bundle
from lightning_esp.inspection.simulator import Simulation
from tests.models.runs import fit, same
from tests.models.spotter import BANDS, Spotter, SpotterData

pytestmark = [pytest.mark.filterwarnings("ignore::UserWarning"), pytest.mark.filterwarnings("ignore::FutureWarning")]

LABELS = ("left", "right", "_other_")
PERIOD = 0.02
SECONDS = 40


def make_stream(seed: int, seconds: int = SECONDS) -> tuple[Tensor, list[Keyword]]:
    """Features in which bands 0 and 2 rise for the words `left` and `right`, and now and then a little for nothing."""
    random = torch.Generator().manual_seed(seed)
    frames = round(seconds / PERIOD)
    features = 0.1 * torch.randn(BANDS, frames, generator=random)
    keywords = []
    for number, start in enumerate(range(50, frames - 100, 100)):
        label = number % 2
        keywords.append(Keyword(start * PERIOD, (start + 25) * PERIOD, LABELS[label]))
        features[2 * label, start : start + 25] += 1.0
        features[2 - 2 * label, start + 60 : start + 80] += 0.4
    return features, keywords


def make_noise(frames: int) -> Tensor:
    return 0.1 * torch.randn(BANDS, frames, generator=torch.Generator().manual_seed(9))


class Loudness(nn.Module):
    """Scores of two words that rise with two bands, and of anything else."""

    def __init__(self) -> None:
        super().__init__()
        self.smooth = nn.Conv1d(BANDS, BANDS, 5, groups=BANDS)
        self.head = nn.Conv1d(BANDS, 3, 1)
        with torch.no_grad():
            self.smooth.bias.copy_(torch.linspace(-0.05, 0.05, BANDS))
            self.smooth.weight.copy_(torch.full((BANDS, 1, 5), 0.2))
            self.head.weight.copy_(0.05 * torch.randn(3, BANDS, 1, generator=torch.Generator().manual_seed(1)))
            self.head.weight[0, 0], self.head.weight[1, 2] = 6.0, 6.0
            self.head.bias.copy_(torch.tensor([-2.0, -2.1, 1.0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.smooth(nn.functional.pad(x, (4, 0))))


def run(tmp_path: Path, detector: Detector | None, streams: Any, scale: float = 1.0, **options: Any) -> Any:
    recordings = [scale * make_stream(seed, 10)[0] for seed in range(4)]
    deployment = Deployment(LABELS, detector=detector)
    streaming = Streaming(window=2, frame_period=PERIOD)
    return export(
        Loudness(), recordings, tmp_path / "b", streaming=streaming, deployment=deployment, streams=streams, **options
    )


def test_thresholds_are_chosen_with_the_integer_stream(tmp_path: Path) -> None:
    streams = [make_stream(7), make_stream(8), (make_noise(500), ())]
    detector = Detector("auto", average=5, minimum=3, max_false_accepts_per_hour=50)
    bundle = run(tmp_path, detector, iter(streams))
    chosen = bundle.manifest["targets"]["esp32s3"]["detector"]
    assert (chosen["average"], chosen["minimum"], chosen["refractory"]) == (5, 3, 35)
    assert chosen["thresholds"][2] is None, "a label with an underscore makes no event"
    assert all(0.1 <= threshold < 1 for threshold in chosen["thresholds"][:2])
    # The figures are those of the files themselves, with the settings of the manifest.
    simulation = Simulation(bundle)
    outputs = [simulation.run(features) for features, _ in streams]
    settings = resolve_settings(
        Detector(dict(zip(LABELS, (*chosen["thresholds"][:2], float("inf")), strict=True)), 5, 3, 35), LABELS, 3
    )
    stream_evaluation = bundle.report["targets"]["esp32s3"]["stream_evaluation"]
    expected = evaluate_streams(outputs, [keywords for _, keywords in streams], settings, LABELS, PERIOD, 50)
    assert stream_evaluation["networks"]["integer"] == expected
    assert expected["keywords"] > 30
    assert expected["false_rejects"] < 0.2
    hours = (2 * SECONDS + 10) / 3600
    assert expected["false_accepts"]["hours"] == pytest.approx(hours, abs=1e-5)
    assert expected["false_accepts"]["count"] <= 50 * hours
    assert expected["false_accepts"]["bound"] > expected["false_accepts"]["per_hour"]
    assert stream_evaluation["networks"]["float_offline"] == stream_evaluation["networks"]["float_streamed"]
    header = (bundle.path / "components/lesp_model/esp32s3/model_config.hpp").read_text()
    written = ", ".join(f"{torch.tensor(threshold).item():.9g}f" for threshold in chosen["thresholds"][:2])
    assert f"kThresholds[] = {{{written}, streaming::kNever}}" in header
    assert ".average = 5" in header
    assert bundle.manifest["targets"]["esp32s3"]["golden_events"]
    summary = bundle.manifest["targets"]["esp32s3"]["stream_evaluation"]["networks"]["integer"]
    assert summary["false_accepts"] == expected["false_accepts"]
    assert any("chosen on the validation streams" in note for note in bundle.report["targets"]["esp32s3"]["notes"])


def test_thresholds_set_by_hand_are_kept_and_judged(tmp_path: Path) -> None:
    bundle = run(tmp_path, Detector(0.6, average=3), [make_stream(7)])
    assert bundle.manifest["targets"]["esp32s3"]["detector"]["thresholds"] == [0.6, 0.6, None]
    stream_evaluation = bundle.report["targets"]["esp32s3"]["stream_evaluation"]
    snippet = stream_evaluation["snippet"]
    assert snippet["keywords"][0] == [1.0, 1.5, "left"], "the stretch starts a second before the first keyword"
    times = [time for time, label in snippet["events"]["integer"] if label == "left"]
    assert any(1.0 < time < 2.0 for time in times)
    assert len(snippet["scores"]["integer"]) == 3
    assert snippet["seconds"] == 20.0
    assert max(snippet["scores"]["integer"][0]) > 0.6


def test_a_class_that_is_never_quiet_enough_ends_the_export(tmp_path: Path) -> None:
    keywords = [Keyword(0.2, 0.4, "left")]  # everything else that sounds like a word is a false accept
    streams = [(3 * make_stream(7)[0], keywords)]
    detector = Detector("auto", average=1, minimum=1, max_false_accepts_per_hour=0)
    options: dict[str, Any] = {"scale": 3.0, "quantization": Quantization(method="minmax")}
    with pytest.raises(DataError, match=r"no thresholds hold 0 false accepts an hour.*'left'"):
        run(tmp_path, detector, streams, **options)
    assert not (tmp_path / "b").exists()
    # Untrained weights need not hold any rate.
    bundle = run(tmp_path, detector, streams, rehearsal=True, **options)
    assert bundle.manifest["targets"]["esp32s3"]["detector"]["thresholds"][0] is not None


def test_a_limit_of_misses_ends_the_export_that_misses_more(tmp_path: Path) -> None:
    with pytest.raises(ProofError, match=r"'left' is missed"):
        run(tmp_path, Detector({"left": 0.999, "right": 0.5}, max_misses=0.2), [make_stream(7)])
    assert not (tmp_path / "b").exists()


def test_a_detector_without_streams_is_amber(tmp_path: Path) -> None:
    bundle = run(tmp_path, Detector(0.6), None)
    (proof,) = (p for p in bundle.report["targets"]["esp32s3"]["proofs"] if p["name"] == "finds its keywords")
    assert proof["passed"]
    assert "no validation streams" in proof["doubt"]
    with pytest.raises(ConfigurationError, match=r"max_misses=0.1.*there are none"):
        run(tmp_path, Detector(0.6, max_misses=0.1), None)


def read_all(bundle: Any) -> dict[str, bytes]:
    files = (path for path in sorted(bundle.path.rglob("*")) if path.is_file())
    return {str(path.relative_to(bundle.path)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def both_orders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """Bundles of two chips whose integers differ by so much that their thresholds do."""
    detector = Detector("auto", max_false_accepts_per_hour=50)
    streams = [make_stream(7), make_stream(8)]
    first, second = (
        run(
            tmp_path_factory.mktemp("order"),
            detector,
            streams,
            target=order,
            quantization=Quantization(method="minmax"),
        )
        for order in (["esp32p4", "esp32s3"], ["esp32s3", "esp32p4"])
    )
    return first, second


def test_the_order_of_the_chips_changes_no_byte(both_orders: tuple[Any, Any]) -> None:
    first, second = map(read_all, both_orders)
    names = [f"components/lesp_model/{chip}/model_config.hpp" for chip in ("esp32s3", "esp32p4")]
    assert {*names, "manifest.json", "report.json"} < first.keys()
    assert sum(name.endswith(".espdl") for name in first) == 2
    assert first == second
    assert json.dumps(both_orders[0].manifest) == json.dumps(both_orders[1].manifest), "keys come in one order, too"


def test_each_chip_has_the_thresholds_that_hold_the_rate_on_it(both_orders: tuple[Any, Any]) -> None:
    bundle, _ = both_orders
    found = [bundle.report["targets"][chip]["stream_evaluation"] for chip in bundle.targets]
    assert found[0]["networks"]["float_offline"]["keywords"] == found[1]["networks"]["float_offline"]["keywords"]
    assert verify_bundle(bundle).keys() == {"esp32s3", "esp32p4"}
    thresholds = [stream_evaluation["detector"]["thresholds"] for stream_evaluation in found]
    assert thresholds[0] != thresholds[1]
    for chip, expected in zip(bundle.targets, thresholds, strict=True):
        assert bundle.manifest["targets"][chip]["detector"]["thresholds"] == expected
        packed = read_image(pack_image(bundle, chip)).detector
        assert packed is not None
        assert packed.thresholds == pytest.approx([math.inf if value is None else value for value in expected])
        header = (bundle.path / f"components/lesp_model/{chip}/model_config.hpp").read_text()
        written = ", ".join(f"{torch.tensor(value).item():.9g}f" for value in expected[:2])
        assert f"kThresholds[] = {{{written}, streaming::kNever}}" in header


def test_a_chip_gets_what_it_would_get_alone(tmp_path: Path) -> None:
    """The ESP32-C3 computes features in fixed point, which must not calibrate the network of the ESP32-S3."""
    front_end = LogMel(num_mel_bins=BANDS, frame_shift=20)
    random = torch.Generator().manual_seed(0)
    waveforms = [0.1 * torch.randn(16000, generator=random) for _ in range(4)]
    bundles = {
        targets: export(Loudness(), waveforms, tmp_path / "-".join(targets), targets, front_end=front_end)
        for targets in (("esp32c3", "esp32s3"), ("esp32s3", "esp32c3"), ("esp32s3",), ("esp32c3",))
    }
    found = {targets: read_all(bundle) for targets, bundle in bundles.items()}
    both, reverse, *alone = found.values()
    assert both == reverse
    for files in alone:
        own = {name: data for name, data in files.items() if name.endswith((".espdl", ".bin", "model_config.hpp"))}
        assert len(own) >= 4
        assert own.items() <= both.items()


class Witness(Loudness):
    """Keeps what it was called with."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.heard.append(x.detach().clone())
        return super().forward(x)


def test_an_integer_stream_hears_as_its_chip_does() -> None:
    """The float networks hear in float32, so what fixed point does to decisions shows in the report."""
    front_end = LogMel(num_mel_bins=BANDS, frame_shift=20)
    waveform = 0.1 * torch.randn(32000, generator=torch.Generator().manual_seed(0))
    deployment = Deployment(LABELS, detector=Detector(0.5))
    module = Loudness()
    model = convert(module, front_end(waveform[None]), Streaming(window=2, frame_period=PERIOD, time_axis=2))
    listener = StreamEvaluator(
        module, model, [(waveform, [Keyword(0.5, 1.2, "left")])], deployment, front_end=front_end
    )
    samples = (waveform * 32768).round().to(torch.int16)
    floating, fixed = front_end(samples), FixedPointFrontEnd(front_end)(samples)
    assert 0 < (floating - fixed).abs().max() < 1e-2
    for target, expected in ((None, floating), ("esp32s3", floating), ("esp32c3", fixed)):
        witness = Witness()
        judged = listener.evaluate(witness, lambda phase, done, total: None, target)
        (whole,) = witness.heard
        assert torch.equal(whole[0], expected)
        assert judged.report["networks"].keys() == {"float_offline", "float_streamed", "integer"}


def test_what_cannot_be_listened_to_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there are none: give the datamodule"):
        run(tmp_path, Detector("auto"), None)
    with pytest.raises(DataError, match="gave no recording"):
        run(tmp_path, Detector("auto"), [])
    with pytest.raises(DataError, match=r"item 1 of validation_streams.. does not fit"):
        run(tmp_path, Detector("auto"), [make_stream(1), (torch.zeros(16000), [])])
    with pytest.raises(DataError, match=r"item 0 .* is a Tensor; give pairs"):
        run(tmp_path, Detector("auto"), torch.zeros(2, 3, 50))
    with pytest.raises(DataError, match=r"has \(0.1, 0.2, 'left'\) among its keywords"):
        read_item((torch.zeros(3, 50), [(0.1, 0.2, "left")]), 0)
    assert not (tmp_path / "b").exists()


class StreamingData(SpotterData):
    """Clips and streams; drawing both from random states of the process, and of the datamodule."""

    frame_period = PERIOD

    def __init__(self, count: int = 48) -> None:
        super().__init__(count)
        self.own = torch.Generator().manual_seed(3)
        self.calls = 0

    def validation_streams(self) -> Iterator[tuple[Tensor, list[Keyword]]]:
        self.calls += 1
        for seed in range(2):
            features, keywords = make_stream(seed, 12)
            yield features + 0.01 * torch.rand(()) + 0.01 * torch.rand((), generator=self.own), keywords


def keeps(data: ValidationStreams) -> ValidationStreams:
    return data


def test_the_callback_takes_the_streams_of_the_datamodule_and_training_never_notices(tmp_path: Path) -> None:
    pl.seed_everything(0, verbose=False)
    _, plain = fit(tmp_path, pl.Callback(), datamodule=StreamingData())
    rest = torch.rand(3)
    pl.seed_everything(0, verbose=False)
    deployment = Deployment(detector=Detector("auto", average=3, minimum=2, max_false_accepts_per_hour=2000))
    callback = EspStreamingExport(output_dir=tmp_path / "b", deployment=deployment)
    data = StreamingData()
    assert keeps(data) is data
    _, module = fit(tmp_path, callback, datamodule=data)
    assert same(plain.state_dict(), module.state_dict())
    assert torch.equal(torch.rand(3), rest)
    assert torch.equal(data.own.get_state(), torch.Generator().manual_seed(3).get_state())
    assert data.calls == 0, "copies were asked"
    assert callback.bundle is not None
    stream_evaluation = callback.bundle.report["targets"]["esp32s3"]["stream_evaluation"]
    assert stream_evaluation["streams"] == 2
    assert stream_evaluation["labels"] == ["left", "right", "other"]
    assert (
        callback.bundle.manifest["targets"]["esp32s3"]["detector"]["thresholds"]
        == stream_evaluation["detector"]["thresholds"]
    )


def test_the_dry_run_hears_the_start_of_one_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    class Data(StreamingData):
        def validation_streams(self) -> Iterator[Any]:
            for seed in range(2):
                seen.append(seed)
                yield make_stream(seed, 100)

    deployment = Deployment(detector=Detector("auto"))
    callback = EspStreamingExport(output_dir=tmp_path / "b", deployment=deployment)
    lengths = []

    def note(self: Any, *args: Any, **options: Any) -> Any:
        found = read(self, *args, **options)
        lengths.append([v["x"].shape[-1] for v in found[0]])
        return found

    read = StreamEvaluator._read
    monkeypatch.setattr(StreamEvaluator, "_read", note)
    fit(tmp_path, callback, datamodule=Data(), max_epochs=1)
    assert lengths == [[1000], [5000, 5000]]
    assert seen == [0, 0, 1]


def test_no_streams_is_an_error_before_training(tmp_path: Path) -> None:
    class Trained(pl.Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            raise AssertionError("training has begun")

    deployment = Deployment(detector=Detector("auto"))
    for dry_run in (True, False):
        callback = EspStreamingExport(output_dir=tmp_path / "b", deployment=deployment, dry_run=dry_run)
        with pytest.raises(ConfigurationError, match="there are none: give the datamodule"):
            fit(tmp_path, callback, Trained(), datamodule=SpotterData())


class Listed(Spotter):
    """A LightningModule that knows its streams, as a dataset that it keeps."""

    frame_period = 0.01

    def __init__(self) -> None:
        super().__init__()
        clips = [(torch.randn(400), "left")]
        self.kept = StreamDataset(clips, seconds=1.0, sample_rate=1000)

    def validation_streams(self) -> StreamDataset:
        return self.kept


def test_waveforms_for_a_module_without_front_end_are_refused_in_the_dry_run(tmp_path: Path) -> None:
    callback = EspStreamingExport(output_dir=tmp_path / "b", deployment=Deployment(detector=Detector("auto")))
    with pytest.raises(DataError, match=r"item 0 of validation_streams.. does not fit the module"):
        fit(tmp_path, callback, module=Listed(), datamodule=SpotterData())


def test_choosing_opens_no_file_of_the_test_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of all splits lie there; those of the test split must stay closed."""
    for split in ("val", "test"):
        for seed in range(2):
            torch.save(make_stream(seed, 12), tmp_path / f"{split}_{seed}.pt")

    class Files(SpotterData):
        frame_period = PERIOD
        splits = ("val",)

        def validation_streams(self) -> Iterator[Any]:
            for split in self.splits:
                for seed in range(2):
                    with open(tmp_path / f"{split}_{seed}.pt", "rb") as file:
                        yield torch.load(file, weights_only=False)

    opened = []

    def watch(path: Any, *args: Any, **options: Any) -> Any:
        if str(path).endswith(".pt"):
            opened.append(Path(path).stem)
            if opened[-1].startswith("test_"):
                raise AssertionError(f"{path} is of the test split")
        return really_open(path, *args, **options)

    really_open = builtins.open
    monkeypatch.setattr(builtins, "open", watch)
    detector = Detector("auto", max_false_accepts_per_hour=2000)
    callback = EspStreamingExport(output_dir=tmp_path / "b", deployment=Deployment(detector=detector), dry_run=False)
    fit(tmp_path, callback, datamodule=Files(), max_epochs=1)
    assert opened == ["val_0", "val_1"]
    Files.splits = ("val", "test")
    with pytest.raises(AssertionError, match="is of the test split"):
        fit(tmp_path, callback, datamodule=Files(), max_epochs=1)
