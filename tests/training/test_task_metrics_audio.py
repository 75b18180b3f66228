"""Metrics of other tasks pass through: the area under the curve of a voice activity detector, SI-SDR of a denoiser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.audio import ScaleInvariantSignalDistortionRatio
from torchmetrics.classification import BinaryAUROC

from lightning_esp import EspStreamingExport, Streaming
from tests.models.runs import fit

pytestmark = [pytest.mark.filterwarnings("ignore::UserWarning"), pytest.mark.filterwarnings("ignore::FutureWarning")]


class Base(pl.LightningModule):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 0.02)


class VoiceActivity(Base):
    """Speech or not in every frame: [batch, bands, frames] -> one logit per frame."""

    def __init__(self) -> None:
        super().__init__(
            nn.Sequential(nn.ConstantPad1d((3, 0), 0.0), nn.Conv1d(4, 6, 4), nn.ReLU(), nn.Conv1d(6, 1, 1))
        )
        self.auroc = BinaryAUROC()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(self.network(batch[0])[:, 0], batch[1].float())

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.auroc.update(self.network(batch[0])[:, 0].sigmoid(), batch[1])
        self.log("val_auroc", self.auroc)


class Denoiser(Base):
    """Samples in, samples out: [batch, 1, samples] -> the same."""

    def __init__(self) -> None:
        super().__init__(
            nn.Sequential(nn.ConstantPad1d((7, 0), 0.0), nn.Conv1d(1, 8, 8), nn.Tanh(), nn.Conv1d(8, 1, 1))
        )
        self.si_sdr = ScaleInvariantSignalDistortionRatio()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.mse_loss(self.network(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.si_sdr(self.network(batch[0])[:, 0], batch[1][:, 0])
        self.log("val_si_sdr", self.si_sdr)


def speech(count: int = 24, frames: int = 60) -> DataLoader[Any]:
    random = torch.Generator().manual_seed(0)
    active = (torch.arange(frames) // 10 + torch.randint(3, (count, 1), generator=random)) % 3 == 0
    features = torch.randn(count, 4, frames, generator=random) + 1.2 * active[:, None] * torch.tensor(
        [[1.0], [0.5], [0], [0]]
    )
    return DataLoader(TensorDataset(features, active.long()), 8)


def tones(count: int = 24, samples: int = 200) -> DataLoader[Any]:
    random = torch.Generator().manual_seed(0)
    pitch = 0.05 + 0.1 * torch.rand(count, 1, 1, generator=random)
    clean = 0.5 * torch.sin(pitch * torch.arange(samples))
    return DataLoader(TensorDataset(clean + 0.3 * torch.randn(clean.shape, generator=random), clean), 8)


def export(tmp_path: Path, module: pl.LightningModule, loader: DataLoader[Any]) -> dict[str, Any]:
    pl.seed_everything(0, verbose=False)
    callback = EspStreamingExport(output_dir=tmp_path / "b", streaming=Streaming(window=4), dry_run=False)
    fit(tmp_path, callback, module=module, train_dataloaders=loader, val_dataloaders=loader, max_epochs=6)
    assert callback.bundle is not None
    return callback.bundle.manifest


def test_the_area_under_the_curve_passes_through_and_is_proved(tmp_path: Path) -> None:
    manifest = export(tmp_path, VoiceActivity(), speech())
    floating, integer = manifest["metrics"]["float"], manifest["metrics"]["quantized"]["esp32s3"]
    assert 0.7 < floating["val_auroc"] < 1
    assert integer["val_auroc"] == pytest.approx(floating["val_auroc"], abs=0.02)
    assert integer["val_auroc"] != floating["val_auroc"], "that of the integers, not of the float network"
    assert any(proof["name"].startswith("val_auroc of the integer stream") for proof in manifest["proofs"])


def test_si_sdr_passes_through(tmp_path: Path) -> None:
    manifest = export(tmp_path, Denoiser(), tones())
    floating, integer = manifest["metrics"]["float"], manifest["metrics"]["quantized"]["esp32s3"]
    noisy, clean = tones().dataset[:]
    before = ScaleInvariantSignalDistortionRatio()(noisy[:, 0], clean[:, 0])
    assert floating["val_si_sdr"] > float(before) + 1, "it learned to take noise away"
    assert integer["val_si_sdr"] == pytest.approx(floating["val_si_sdr"], abs=1.0)
    assert integer["val_si_sdr"] != floating["val_si_sdr"]
    assert integer["output_snr_db"] > 15
