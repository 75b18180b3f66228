"""A LightningModule whose `Normalize` stands beside the exported network, or in it."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_esp import EspStreamingExport, Streaming, simulate
from lightning_esp.frontend import Normalize
from tests.models.pieces import CausalConv

MEAN, SCALE = torch.tensor([1013.0, 20.0]), torch.tensor([10.0, 5.0])


class Sensor(pl.LightningModule):
    """Scores of every frame of raw readings."""

    def __init__(self, place: str) -> None:
        super().__init__()
        self.place = place
        self.normalize = Normalize(MEAN, SCALE)
        layers = [CausalConv(2, 4, 3), nn.ReLU(), nn.Conv1d(4, 2, 1)]
        self.network = nn.Sequential(*([self.normalize] if place == "inside" else []), *layers)

    def forward(self, x: Tensor) -> Tensor:
        if self.place == "between":
            return self.network(2 * self.normalize(x))  # type: ignore[no-any-return]
        return self.network(x if self.place == "inside" else self.normalize(x))  # type: ignore[no-any-return]

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]).mean(2), batch[1])

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        decided = self(batch[0]).mean(2).argmax(1)
        self.log("val_acc", (decided == batch[1]).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def loader() -> DataLoader[tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(24) % 2
    raw = torch.randn(24, 2, 40, generator=generator) + (2 * labels - 1)[:, None, None]
    return DataLoader(TensorDataset(raw * SCALE[:, None] + MEAN[:, None], labels), 8)


@pytest.mark.parametrize("place", ["inside", "beside", "between"])
def test_the_firmware_takes_raw_readings(place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pl.seed_everything(0, verbose=False)
    module, callback = Sensor(place), EspStreamingExport(output_dir=tmp_path / "bundle", module="network")
    trainer = pl.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, callbacks=[callback],
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(module, loader(), loader())
    assert callback.bundle is not None
    manifest = callback.bundle.manifest
    if place == "between":
        assert manifest["frontend"] is None
        return
    assert manifest["frontend"] == Normalize(MEAN, SCALE).describe()
    assert manifest["metrics"]["quantized"]["esp32s3"]["val_acc"] == manifest["metrics"]["float"]["val_acc"]
    (readings, *_) = next(iter(loader()))
    with torch.no_grad():
        offline = module.eval()(readings)[0]
    found = simulate(callback.bundle, readings[0])
    assert float(10 * torch.log10(offline.square().mean() / (found - offline).square().mean())) > 20


class Turned(Sensor):
    """A 2-D network over frames in rows."""

    def __init__(self) -> None:
        super().__init__("beside")
        self.network = nn.Sequential(nn.Conv2d(1, 4, (1, 2)), nn.ReLU(), nn.Conv2d(4, 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.network(self.normalize(x).transpose(1, 2).unsqueeze(1)).squeeze(3)  # type: ignore[no-any-return]


def test_axes_between_are_followed(tmp_path: Path) -> None:
    pl.seed_everything(0, verbose=False)
    streaming = Streaming(time_axis=2)
    callback = EspStreamingExport(output_dir=tmp_path / "bundle", module="network", streaming=streaming)
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, callbacks=[callback],
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(Turned(), loader(), loader())
    assert callback.bundle is not None
    assert callback.bundle.manifest["frontend"] == Normalize(MEAN, SCALE, channel_axis=3).describe()
