"""Recognition of motion, for every sample of a sensor, by a causal temporal convolutional network.

    python recipes/sensor_tcn.py fit --data.root FOLDER
    python recipes/sensor_tcn.py fit --data.root FOLDER --export.target esp32c6 --export.streaming.window 5

`FOLDER/index.csv` names recordings (path, label, and split and speaker where they are known; a speaker is whoever wears the
sensor), each a CSV file with a line of names and a column for each channel, in whatever unit the sensor gives: mean and scale
of the training data go into the firmware, which takes readings in the same unit. Defaults stand in `sensor_tcn.yaml`.
"""

# ruff: noqa: D102  (Lightning documents what these methods are for)
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch
from listings import Clip, hold_out_files, read_index
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from tcn import KeywordTcn
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

from lightning_esp import EspStreamingExport
from lightning_esp.errors import DataError
from lightning_esp.frontend import Normalize


class SensorData(pl.LightningDataModule):
    """Recordings of a sensor, cut into pieces; batches are (samples [batch, channels, time], label indices [batch]).

    Its `mean` and `scale` are those of each channel in the training data.

    Args:
        root: a folder with an `index.csv`.
        sample_rate: samples a second of every recording.
        seconds: length of a piece.
        batch_size: pieces in a batch.
    """

    def __init__(
        self, root: str | Path = "data", sample_rate: float = 50.0, seconds: float = 2.0, batch_size: int = 32
    ) -> None:
        super().__init__()
        self.length, self.batch_size = round(seconds * sample_rate), batch_size
        self.frame_period = 1 / sample_rate
        clips = hold_out_files(hold_out_files(read_index(Path(root))), "test")
        self.labels = sorted({clip.label for clip in clips})
        self.pieces = {split: self._cut(clips, split) for split in ("train", "val", "test")}
        figures = Normalize.fit([self.pieces["train"].tensors[0]]).describe()
        self.mean, self.scale = figures["mean"], figures["scale"]

    def _cut(self, clips: Sequence[Clip], split: str) -> TensorDataset:
        found, targets = list[Tensor](), list[int]()
        for clip in clips:
            if clip.split == split:
                pieces = self._pieces(clip.path)
                found += pieces
                targets += [self.labels.index(clip.label)] * len(pieces)
        if not found:
            raise DataError(f"--data.root: the split {split!r} has no recording of {self.length} samples; record more.")
        if len({piece.shape for piece in found}) > 1:
            raise DataError(
                f"--data.root: recordings have {sorted({len(p) for p in found})} columns; all need the same."
            )
        return TensorDataset(torch.stack(found), torch.tensor(targets))

    def _pieces(self, path: Path) -> list[Tensor]:
        """Pieces of a recording that overlap by half, `[channels, time]` each."""
        try:
            values = np.loadtxt(path, dtype=np.float32, delimiter=",", skiprows=1, ndmin=2)
        except ValueError as error:
            raise DataError(
                f"{path} holds no numbers in columns ({error}); write one line of names, then samples."
            ) from None
        if len(values) < self.length:
            return []
        return list(torch.from_numpy(values).T.unfold(1, self.length, self.length // 2).transpose(0, 1))

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.pieces["train"], self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.pieces["val"], self.batch_size)

    def test_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.pieces["test"], self.batch_size)


class Network(nn.Module):
    """Raw samples [batch, channels, time] -> scores per sample [batch, classes, time]."""

    def __init__(self, normalize: Normalize, classes: int, width: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.normalize = normalize
        self.tcn = KeywordTcn(normalize.channels, classes, width, 5, dilations)

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.tcn(self.normalize(x)))


class SensorRecognizer(pl.LightningModule):
    """Trains a network that names what a sensor feels.

    Args:
        labels: the classes, in the order of the network's outputs; the command line takes them from the data.
        mean: of each column of a recording; the command line takes it from the data.
        scale: standard deviation of each column; likewise.
        width: channels inside the network.
        dilations: one block for each; the network sees 4 samples back for each unit.
        learning_rate: of AdamW.
    """

    def __init__(
        self,
        labels: list[str],
        mean: list[float],
        scale: list[float],
        width: int = 32,
        dilations: Sequence[int] = (1, 2, 4, 8),
        learning_rate: float = 3e-3,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.learning_rate = learning_rate
        self.network = Network(Normalize(mean, scale), len(labels), width, dilations)
        self.val_acc = MulticlassAccuracy(len(labels), average="micro")
        self.test_acc = MulticlassAccuracy(len(labels), average="micro")

    def decide(self, samples: Tensor) -> Tensor:
        """Score the classes of each piece by the second half of it, when enough of the past is known."""
        scores: Tensor = self.network(samples)
        return scores[:, :, samples.shape[2] // 2 :].mean(2)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss = F.cross_entropy(self.decide(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        scores = self.decide(batch[0])
        self.val_acc(scores, batch[1])
        self.log("val_loss", F.cross_entropy(scores, batch[1]))
        self.log("val_acc", self.val_acc, prog_bar=True)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.test_acc(self.decide(batch[0]), batch[1])
        self.log("test_acc", self.test_acc)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), self.learning_rate)


class SensorCLI(LightningCLI):
    """LightningCLI that exports at the end of `fit`, and takes labels, means and scales from the data."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_lightning_class_args(EspStreamingExport, "export")
        for name in ("labels", "mean", "scale"):
            parser.link_arguments(f"data.{name}", f"model.{name}", apply_on="instantiate")


if __name__ == "__main__":
    defaults = {"default_config_files": [str(Path(__file__).with_suffix(".yaml"))]}
    kwargs = dict.fromkeys(("fit", "validate", "test", "predict"), defaults)
    SensorCLI(SensorRecognizer, SensorData, parser_kwargs=kwargs)
