"""Common parts of the keyword recipes: training on labelled clips, and a command line that exports."""

# ruff: noqa: D102  (Lightning documents what these methods are for)
from __future__ import annotations

from pathlib import Path

import pytorch_lightning as pl
import torch
from augmentation import augment_features
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from speech_data import SpeechData
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy

from lightning_esp import EspStreamingExport
from lightning_esp.frontend import LogMel


class Spotter(pl.LightningModule):
    """Trains a network on labelled clips: log-mel frames [batch, bands, frames] -> logits [batch, classes, frames].

    Args:
        labels: the classes, in the order of the network's outputs; the command line takes them from the data.
        network: the causal network that is exported.
        bands: mel bands of a frame.
        frame_shift: milliseconds from frame to frame.
        decision_seconds: a clip is decided by the mean logits of its last seconds.
        learning_rate: the peak of a one-cycle schedule.
        weight_decay: of AdamW.
        label_smoothing: of the cross entropy.
    """

    def __init__(
        self,
        labels: list[str],
        network: nn.Module,
        bands: int,
        frame_shift: int = 10,
        decision_seconds: float = 0.25,
        learning_rate: float = 7e-3,
        weight_decay: float = 1e-2,
        label_smoothing: float = 0.1,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(ignore="network")
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        # The sum inside the logarithm hides how silent silence is: its frames lie near those of quiet rooms.
        self.frontend = LogMel(
            num_mel_bins=bands,
            frame_length=30,
            frame_shift=frame_shift,
            preemphasis=0.0,
            window_type="hann",
            log_epsilon=1e-5,
            use_log_fbank=2,
        )
        self.decision_frames = round(decision_seconds / self.frontend.frame_period)
        self.network = network
        self.loss = nn.CrossEntropyLoss(label_smoothing=label_smoothing)
        self.val_acc = MulticlassAccuracy(len(labels), average="micro")
        self.test_acc = MulticlassAccuracy(len(labels), average="micro")

    def setup(self, stage: str) -> None:
        data = getattr(self.trainer, "datamodule", None)
        if stage == "fit" and isinstance(data, SpeechData):
            self.frontend.measure(data.sample_waveforms(500))

    def decide(self, features: Tensor) -> Tensor:
        """Score the classes of each clip: [batch, bands, frames] -> [batch, classes]."""
        logits: Tensor = self.network(features)
        return logits[:, :, -self.decision_frames :].mean(2)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss: Tensor = self.loss(self.decide(augment_features(self.frontend(batch[0]))), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        scores = self.decide(self.frontend(batch[0]))
        self.val_acc(scores, batch[1])
        self.log("val_loss", F.cross_entropy(scores, batch[1]))
        self.log("val_acc", self.val_acc, prog_bar=True)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.test_acc(self.decide(self.frontend(batch[0])), batch[1])
        self.log("test_acc", self.test_acc)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = torch.optim.AdamW(self.parameters(), weight_decay=self.weight_decay)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.learning_rate, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class RecipeCLI(LightningCLI):
    """LightningCLI that exports at the end of `fit` and takes the labels from the data."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_lightning_class_args(EspStreamingExport, "export")
        parser.link_arguments("data.labels", "model.labels", apply_on="instantiate")


def run_recipe(spotter: type[Spotter], recipe: str) -> None:
    """Run the command line of a recipe, with the defaults of the YAML file beside it.

    Args:
        spotter: what it trains.
        recipe: path of the recipe's Python file.
    """
    defaults = {"default_config_files": [str(Path(recipe).with_suffix(".yaml"))]}
    commands = ("fit", "validate", "test", "predict")
    RecipeCLI(spotter, SpeechData, parser_kwargs=dict.fromkeys(commands, defaults))
