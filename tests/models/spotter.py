"""A small keyword spotter, its data, and variations of both that a training run may bring."""

from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchmetrics.classification import MulticlassAccuracy

BANDS, CLASSES, FRAMES = 6, 3, 12


class Net(nn.Module):
    """Causal conv with batch norm and dropout: [batch, bands, frames] -> [batch, classes, frames]."""

    def __init__(self, bands: int = BANDS, classes: int = CLASSES) -> None:
        super().__init__()
        self.conv = nn.Conv1d(bands, 8, 3)
        self.norm = nn.BatchNorm1d(8)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Conv1d(8, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self._rest(F.pad(x, (2, 0)))

    def _rest(self, x: Tensor) -> Tensor:
        return self.head(self.drop(F.relu(self.norm(self.conv(x)))))

    def streaming_forward(self, x: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        joined = torch.cat([cache, x], dim=2)
        return self._rest(joined), joined[:, :, -2:]

    def streaming_caches(self) -> dict[str, tuple[int, int]]:
        return {"cache": (self.conv.in_channels, 2)}


class Clips(Dataset[tuple[Tensor, int]]):
    """Noise with one loud band per class; `draw` adds noise from an RNG of the dataset's own."""

    def __init__(self, count: int = 48, seed: int = 0, draw: bool = False) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.targets = torch.arange(count) % CLASSES
        self.x = 0.3 * torch.randn(count, BANDS, FRAMES, generator=generator)
        for index, target in enumerate(self.targets.tolist()):
            self.x[index, 2 * target] += 1.5
        self.own = torch.Generator().manual_seed(seed) if draw else None

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        noise = 0.1 * torch.randn(BANDS, FRAMES, generator=self.own) if self.own is not None else 0.0
        return self.x[index] + noise, int(self.targets[index])


class Spotter(pl.LightningModule):
    """Scores are averaged over time; the decision is one class per clip."""

    def __init__(self, rate: float = 0.02) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = Net()
        self.val_acc = MulticlassAccuracy(CLASSES, average="micro")

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = F.cross_entropy(self.net(batch[0]).mean(2), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        scores = self.net(batch[0]).mean(2)
        self.val_acc(scores, batch[1])
        self.log("val_loss", F.cross_entropy(scores, batch[1]))
        self.log("val_acc", self.val_acc)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), self.hparams["rate"])


class SpotterData(pl.LightningDataModule):
    """The clips as a datamodule; `labels` name the classes."""

    labels = ("left", "right", "other")

    def __init__(self, count: int = 48) -> None:
        super().__init__()
        self.save_hyperparameters()

    def setup(self, stage: str) -> None:
        self.train, self.val = Clips(self.hparams["count"], 1), Clips(24, 2)

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.train, 16, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.val, 16)
