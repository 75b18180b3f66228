"""Common parts of the keyword recipes: training per frame on scenes, and a command line that exports."""

# ruff: noqa: D102  (Lightning documents what these methods are for)
from __future__ import annotations

from pathlib import Path
from typing import cast

import pytorch_lightning as pl
import torch
from augmentation import augment_features
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.utilities import rank_zero_info
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from scene_data import DECISION_SECONDS, SceneData
from scenes import Scenes, decide_clips, frame_loss
from speech_data import SpeechData
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy

from lightning_esp import EspStreamingExport
from lightning_esp.frontend import LogMel

# A mask over frames is at most so long.
MASK_SECONDS = 0.15
# What scores so much although training has been told for epochs that it is no keyword may be one.
SUSPECT = 0.8


class Spotter(pl.LightningModule):
    """Trains a network per frame: log-mel frames [batch, bands, frames] -> logits [batch, classes, frames].

    Words lie in other speech and noise, as the device will meet them; the frames behind a word's end should tell it, and all
    others that nothing was said. Clips are decided as the detector decides: by the highest moving average.

    Args:
        labels: the classes, in the order of the network's outputs; the command line takes them from the data.
        network: the causal network that is exported.
        bands: mel bands of a frame.
        frame_shift: milliseconds from frame to frame.
        learning_rate: the peak of a one-cycle schedule.
        weight_decay: of AdamW.
        label_smoothing: of the cross entropy.
        mine_every: epochs after which the network hears all speech without keywords again, so that what it takes for one
            comes more often; 0: never.
    """

    rest: Tensor

    def __init__(
        self,
        labels: list[str],
        network: nn.Module,
        bands: int,
        frame_shift: int = 20,
        learning_rate: float = 7e-3,
        weight_decay: float = 1e-2,
        label_smoothing: float = 0.1,
        mine_every: int = 5,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(ignore="network")
        self.learning_rate, self.weight_decay, self.mine_every = learning_rate, weight_decay, mine_every
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
        self.hardest: list[tuple[float, Path, float]] = []
        self.hold = round(DECISION_SECONDS / self.frontend.frame_period)
        self.network, self.label_smoothing = network, label_smoothing
        self.register_buffer("rest", torch.tensor([label.startswith("_") for label in labels]), persistent=False)
        self.val_acc = MulticlassAccuracy(len(labels), average="micro")
        self.test_acc = MulticlassAccuracy(len(labels), average="micro")

    def setup(self, stage: str) -> None:
        data = getattr(self.trainer, "datamodule", None)
        if stage == "fit" and isinstance(data, SceneData):
            self.frontend.measure(data.sample_waveforms(500))

    def on_train_epoch_start(self) -> None:
        data, epoch = getattr(self.trainer, "datamodule", None), self.current_epoch
        if self.mine_every and epoch and epoch % self.mine_every == 0 and isinstance(data, SceneData):
            self.network.eval()
            self.hardest = data.mine(self._score_keywords)
            self.network.train()

    def on_train_end(self) -> None:
        """Name what may be a keyword among what should have none: training took it for none."""
        told = [f"{path} at {second:.1f} s ({score:.2f})" for score, path, second in self.hardest if score > SUSPECT]
        if told:
            rank_zero_info(
                f"Of the recordings without keywords these sound most as one, with their scores: {', '.join(told)}. Where a "
                "keyword is said there, take the recording out and train again."
            )

    @torch.no_grad()
    def _score_keywords(self, waveforms: Tensor) -> Tensor:
        scores = self.network(self.frontend(waveforms.to(self.device))).softmax(1)
        return cast("Tensor", scores[:, ~self.rest].amax((1, 2)))

    def decide(self, features: Tensor) -> Tensor:
        """Score the classes of each clip: [batch, bands, frames] -> logarithms of probabilities [batch, classes]."""
        return decide_clips(self.network(features), self.rest, self.hold)

    def training_step(self, batch: Scenes, batch_idx: int) -> Tensor:
        start, end = (self._frame(edge) for edge in (batch.start, batch.end))
        longest = round(MASK_SECONDS / self.frontend.frame_period)
        features, start, end = augment_features(self.frontend(batch.waveforms), start, end, longest=longest)
        loss = frame_loss(self.network(features), batch.labels, start, end, self.rest, self.hold, self.label_smoothing)
        self.log("train_loss", loss, batch_size=len(batch.labels))
        return loss

    def _frame(self, sample: Tensor) -> Tensor:
        """The frame that ends with a sample; -1 stays."""
        config = self.frontend.config
        length, shift = (
            milliseconds * config.sample_rate / 1000 for milliseconds in (config.frame_length, config.frame_shift)
        )
        return torch.where(sample < 0, sample.float(), ((sample - length) / shift).clamp(min=0.0))

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        scores = self.decide(self.frontend(batch[0]))
        self.val_acc(scores, batch[1])
        self.log("val_loss", F.nll_loss(scores, batch[1]))
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


def run_recipe(
    spotter: type[Spotter], recipe: str, data: type[SceneData] = SpeechData, command_line: type[RecipeCLI] = RecipeCLI
) -> None:
    """Run the command line of a recipe, with the defaults of the YAML file beside it.

    Args:
        spotter: what it trains.
        recipe: path of the recipe's Python file.
        data: what it trains on.
        command_line: what reads the arguments.
    """
    defaults = {"default_config_files": [str(Path(recipe).with_suffix(".yaml"))]}
    commands = ("fit", "validate", "test", "predict")
    command_line(spotter, data, parser_kwargs=dict.fromkeys(commands, defaults))
