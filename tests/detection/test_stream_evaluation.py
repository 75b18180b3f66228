"""A model that listens, from samples to a bundle: `export(front_end=...)`, and the callback that finds the front end."""

from __future__ import annotations

import logging
import struct

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_esp import Deployment, EspStreamingExport, Streaming, export
from lightning_esp.bundle import read_model
from lightning_esp.config import Detector
from lightning_esp.detection import Keyword
from lightning_esp.errors import DataError
from lightning_esp.frontend import LogMel, as_on_chip, compute_stream_features
from lightning_esp.simulation import integer_windows
from tests.models.runs import fit
from tests.models.spotter import BANDS, CLASSES, Net
from tests.support.tones import LABELS, make_front_end, make_waveforms, read_audio


class StreamEvaluator(pl.LightningModule):
    """A spotter that starts at samples."""

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        self.front_end = LogMel(num_mel_bins=BANDS)
        self.net = Net()
        self.gain = gain
        nn.init.normal_(self.net.norm.running_mean, std=0.3)

    def setup(self, stage: str) -> None:
        self.front_end.measure([make_waveforms()])

    def _loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        scores = self.net(self.between(self.front_end(batch[0]))).mean(2)
        return nn.functional.cross_entropy(scores, batch[1])

    def between(self, features: Tensor) -> Tensor:
        return features if self.gain == 1 else torch.tanh(self.gain * features)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self._loss(batch)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.log("val_loss", self._loss(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def make_loader() -> DataLoader:
    return DataLoader(TensorDataset(make_waveforms(12), torch.arange(12) % CLASSES), batch_size=4)


def check_golden_chain(bundle, front_end, waveforms, target="esp32s3") -> None:
    """Golden samples give the golden features, and these the golden inputs."""
    samples, features = read_audio(bundle, target)
    data = (bundle.path / f"components/lesp_model/{target}/golden/{bundle.name}_golden.bin").read_bytes()
    quantized = read_model(bundle, target)
    record = struct.unpack_from("<I", data, 8)[0]
    window = 0
    for waveform, heard, made in zip(waveforms, samples, features, strict=False):
        (expected,) = compute_stream_features(front_end, [waveform])
        assert np.array_equal(heard, expected.samples.numpy())
        assert np.array_equal(made, expected.features.T.numpy())
        for inputs in integer_windows(quantized, {"x": expected.features[None]}):
            start = 12 + window * record + 4
            assert data[start : start + inputs["x"].nbytes] == inputs["x"].tobytes()
            window += 1
    assert window > 20


def test_export_takes_samples(tmp_path):
    torch.manual_seed(0)
    front_end, waveforms = make_front_end(), list(make_waveforms())
    deployment = Deployment(LABELS, detector=Detector(0.4, average=3, refractory=5))
    streaming = Streaming(frame_period=front_end.frame_period)
    bundle = export(
        Net().eval(),
        waveforms,
        tmp_path / "b",
        ["esp32s3", "esp32c3"],
        streaming=streaming,
        deployment=deployment,
        front_end=front_end,
    )
    assert bundle.manifest["frontend"] == front_end.describe()
    paces = {p["target"]: p for p in bundle.manifest["proofs"] if p["name"] == "keeps up with the sound"}
    assert all(paces[chip]["figure"] > 0 and not paces[chip]["doubt"] for chip in ("esp32s3", "esp32c3"))
    check_golden_chain(bundle, front_end, waveforms)
    assert bundle.manifest["targets"]["esp32s3"]["golden_events"]


def test_a_chip_without_floats_hears_in_fixed_point(tmp_path):
    """Golden data, header and proof of a chip say how it computes; those of the other one do not change."""
    torch.manual_seed(0)
    front_end, waveforms = make_front_end(), list(make_waveforms())
    bundle = export(Net().eval(), waveforms, tmp_path / "b", ["esp32c3", "esp32s3"], front_end=front_end)
    check_golden_chain(bundle, as_on_chip(front_end, "esp32c3"), waveforms, "esp32c3")
    check_golden_chain(bundle, front_end, waveforms, "esp32s3")
    (_, fixed), (_, floating) = read_audio(bundle, "esp32c3"), read_audio(bundle, "esp32s3")
    assert 0 < np.abs(fixed[0] - floating[0]).max() < 1e-2
    headers = [(bundle.path / f"components/lesp_model/{chip}/model_config.hpp").read_text() for chip in bundle.targets]
    assert [header.count("Arithmetic::kFixedPoint") for header in headers] == [1, 0]
    (proof,) = [p for p in bundle.manifest["proofs"] if p["name"] == "features in fixed point"]
    assert (proof["target"], proof["state"]) == ("esp32c3", "green")
    assert 0 < proof["figure"] < proof["limit"] == 0.05


def test_recordings_with_a_front_end_are_samples(tmp_path):
    with pytest.raises(DataError, match="recording 1 has 399 samples, fewer than one frame of 400"):
        export(Net(), [torch.zeros(400), torch.zeros(399)], tmp_path / "b", front_end=make_front_end())
    with pytest.raises(DataError, match="not a mapping"):
        export(Net(), [{"x": torch.zeros(400)}], tmp_path / "b", front_end=make_front_end())
    with pytest.raises(DataError, match=r"shape \[6, 20\]; .* one channel"):
        export(Net(), [torch.zeros(6, 20)], tmp_path / "b", front_end=make_front_end())


def test_the_callback_finds_the_front_end(tmp_path):
    torch.manual_seed(0)
    callback = EspStreamingExport(output_dir=tmp_path / "b")
    loaders = {"train_dataloaders": make_loader(), "val_dataloaders": make_loader()}
    _, module = fit(tmp_path, callback, module=StreamEvaluator(), max_epochs=1, **loaders)
    bundle = callback.bundle
    assert bundle is not None
    assert bundle.manifest["frontend"] == module.front_end.describe()
    assert bundle.manifest["streaming"]["frame_period"] == 0.01
    check_golden_chain(bundle, module.front_end, list(make_waveforms(12)))


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_snippet_of_a_failed_export_makes_a_bundle_that_listens(tmp_path, monkeypatch, caplog):
    """Front end, frame period and labels are in it, though no trainer is."""

    def fail(*arguments, **options):
        raise DataError("no luck")

    torch.manual_seed(0)
    with monkeypatch.context() as patch:
        patch.setattr("lightning_esp.callback.export", fail)
        module = StreamEvaluator()
        module.labels = LABELS
        callback = EspStreamingExport(output_dir=tmp_path / "b", dry_run=False)
        loaders = {"train_dataloaders": make_loader(), "val_dataloaders": make_loader()}
        with pytest.raises(DataError, match="no luck"):
            fit(tmp_path, callback, module=module, max_epochs=1, **loaders)
    names = {}
    exec(caplog.text.split("To export again:")[1], names)
    bundle = names["bundle"]
    assert bundle.path == tmp_path / "b"
    assert bundle.manifest["frontend"] == module.front_end.describe()
    assert bundle.manifest["streaming"]["frame_period"] == 0.01
    assert bundle.labels == LABELS
    check_golden_chain(bundle, module.front_end, list(make_waveforms(12)))


def test_the_snippet_of_a_failed_export_chooses_thresholds_on_the_same_streams(tmp_path, monkeypatch, caplog):
    def fail(*arguments, **options):
        raise DataError("no luck")

    class Judged(StreamEvaluator):
        labels = LABELS

        def validation_streams(self):
            return [(0.1 * torch.randn(32_000), (Keyword(0.5, 1.0, LABELS[1]),))]

    torch.manual_seed(0)
    module = Judged()
    detector = Detector(threshold="auto", max_false_accepts_per_hour=10_000)
    options = {"deployment": Deployment(detector=detector), "dry_run": False}
    with monkeypatch.context() as patch:
        patch.setattr("lightning_esp.callback.export", fail)
        loaders = {"train_dataloaders": make_loader(), "val_dataloaders": make_loader()}
        callback = EspStreamingExport(output_dir=tmp_path / "b", **options)
        with pytest.raises(DataError, match="no luck"):
            fit(tmp_path, callback, module=module, max_epochs=1, **loaders)
    names = {}
    exec(caplog.text.split("To export again:")[1], names)
    evaluation = names["bundle"].manifest["targets"]["esp32s3"]["stream_evaluation"]
    assert evaluation["streams"] == 1
    assert evaluation["networks"]["integer"]["false_accepts"]["hours"] == pytest.approx(2 / 3600, rel=0.05)


def test_a_network_that_sees_something_else_is_exported_without(tmp_path, caplog):
    torch.manual_seed(0)
    callback = EspStreamingExport(output_dir=tmp_path / "b", dry_run=False)
    loaders = {"train_dataloaders": make_loader(), "val_dataloaders": make_loader()}
    with caplog.at_level(logging.INFO):
        fit(tmp_path, callback, module=StreamEvaluator(gain=0.5), max_epochs=1, **loaders)
    assert "what the network sees is not what the front end front_end makes of one channel" in caplog.text
    assert callback.bundle is not None
    assert callback.bundle.manifest["frontend"] is None
    assert not list((tmp_path / "b").rglob("*_audio.bin"))


class Inside(StreamEvaluator):
    """The same, its front end a part of what is exported."""

    def __init__(self) -> None:
        super().__init__()
        del self.front_end
        self.net = nn.Sequential(LogMel(num_mel_bins=BANDS), nn.BatchNorm1d(BANDS), Net())

    def setup(self, stage: str) -> None:
        self.net[0].measure([make_waveforms()])

    def _loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(self.net(batch[0]).mean(2), batch[1])


def test_the_callback_takes_a_front_end_out_of_the_network(tmp_path, caplog):
    torch.manual_seed(0)
    callback = EspStreamingExport(output_dir=tmp_path / "b")
    loaders = {"train_dataloaders": make_loader(), "val_dataloaders": make_loader()}
    with caplog.at_level(logging.INFO):
        _, module = fit(tmp_path, callback, module=Inside(), max_epochs=1, **loaders)
    assert callback.bundle is not None
    assert callback.bundle.manifest["frontend"] == module.net[0].describe()
    assert "not listen to samples" not in caplog.text
    metrics = callback.bundle.manifest["metrics"]
    assert metrics["quantized"]["esp32s3"]["output_snr_db"] > 15
    assert set(metrics["float"]) <= set(metrics["quantized"]["esp32s3"])
    samples, features = read_audio(callback.bundle)
    (expected,) = compute_stream_features(module.net[0], [make_waveforms(12)[0]])
    assert np.array_equal(samples[0], expected.samples.numpy())
    assert np.array_equal(features[0], expected.features.T.numpy())


class FramesFirst(nn.Module):
    """Takes `[batch, 1, frames, bands]`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 2, (3, 3), padding=(0, 1)), nn.Linear(2 * BANDS, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.conv(nn.functional.pad(x, (0, 0, 2, 0)))).transpose(1, 2).flatten(2)
        return self.head(y).transpose(1, 2)


class Between(StreamEvaluator):
    """A norm, a shift, another order of axes and one axis more lie between front end and network."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.net = nn.BatchNorm1d(BANDS, affine=False), FramesFirst()

    def between(self, features: Tensor) -> Tensor:
        return ((self.norm(features) - 0.3) / 0.6).transpose(1, 2).unsqueeze(1)


def test_what_lies_between_front_end_and_network_goes_with_them(tmp_path, caplog):
    torch.manual_seed(0)
    callback = EspStreamingExport(output_dir=tmp_path / "b", module="net")
    loaders = {"train_dataloaders": make_loader(), "val_dataloaders": make_loader()}
    with caplog.at_level(logging.INFO):
        _, module = fit(tmp_path, callback, module=Between(), max_epochs=3, **loaders)
    assert "not listen to samples" not in caplog.text
    bundle = callback.bundle
    assert bundle is not None
    module.eval()
    described, front_end, norm = bundle.manifest["frontend"], module.front_end, module.norm
    scale = front_end.scale / (norm.running_var + norm.eps).sqrt() / 0.6
    assert torch.allclose(torch.tensor(described["scale"]), scale, rtol=1e-3)
    metrics = bundle.manifest["metrics"]["quantized"]["esp32s3"]
    assert metrics["output_snr_db"] > 15
    samples, features = read_audio(bundle)
    expected = norm(compute_stream_features(front_end, [make_waveforms(12)[0]])[0].features[None])[0]
    assert np.allclose(features[0].T, ((expected - 0.3) / 0.6).numpy(), atol=1e-3)
    assert len(samples[0]) == (features[0].shape[0] - 1) * 160 + 400


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_failed_export_keeps_what_lies_between(tmp_path, monkeypatch, caplog):
    def fail(*arguments, **options):
        raise DataError("no luck")

    torch.manual_seed(0)
    with monkeypatch.context() as patch:
        patch.setattr("lightning_esp.callback.export", fail)
        callback = EspStreamingExport(output_dir=tmp_path / "b", dry_run=False, module="net")
        loaders = {"train_dataloaders": make_loader(), "val_dataloaders": make_loader()}
        with pytest.raises(DataError, match="no luck"):
            fit(tmp_path, callback, module=Between(), max_epochs=1, **loaders)
    names = {}
    exec(caplog.text.split("To export again:")[1], names)
    assert names["bundle"].manifest["frontend"]["bands"] == BANDS
