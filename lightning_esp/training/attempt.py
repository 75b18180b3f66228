"""One attempt to export what was trained, and what is kept when it fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer

from lightning_esp.config import Calibration, Streaming
from lightning_esp.training.copying import isolate_random
from lightning_esp.training.recordings import Captured, capture_recordings
from lightning_esp.training.recovery import Retry, save_material, save_weights
from lightning_esp.training.subject import Subject, make_subject
from lightning_esp.training.weights import Choice, Weights, choose_weights


@dataclass
class Attempt:
    """Gathers, step by step, what an export needs; after a failure it holds what was gathered so far.

    Args:
        trainer: the user's trainer.
        module: the user's LightningModule.
        directory: where the bundle goes.
        datamodule: the user's datamodule; None takes the trainer's.
    """

    trainer: Trainer
    module: LightningModule
    directory: Path
    datamodule: Any = None
    weights: Weights | None = field(default=None, init=False)
    subject: Subject | None = field(default=None, init=False)
    captured: Captured | None = field(default=None, init=False)

    def prepare(
        self, choice: Choice, path: str | None, streaming: Streaming, calibration: Calibration
    ) -> tuple[Weights, Subject, Captured]:
        """Choose the weights, copy the module, and capture recordings."""
        self.weights = choose_weights(self.trainer, choice)
        with isolate_random(calibration.seed):
            self.subject = make_subject(self.trainer, self.module, path, self.weights.content, self.datamodule)
            self.captured = capture_recordings(self.subject, streaming, calibration)
        return self.weights, self.subject, self.captured

    def keep(self, error: Exception, arguments: Mapping[str, Any], module: str | None) -> str:
        """Save what another export needs.

        Args:
            error: what stopped this one.
            arguments: arguments that `EspStreamingExport` and `export` share.
            module: `EspStreamingExport(module=...)`.

        Returns:
            What happened, where the weights are, and code that exports again.
        """
        datamodule: Any = self.datamodule if self.datamodule is not None else getattr(self.trainer, "datamodule", None)
        checkpoint = None if self.weights is None else self.weights.checkpoint
        if checkpoint is None:
            checkpoint = save_weights(self.module, datamodule, self._beside("failed.ckpt"))
        material = None
        if self.subject is not None and self.captured is not None:
            material = save_material(self.subject, self.captured.recordings, self._beside("failed.pt"))
        retry = Retry(self.trainer, self.module, datamodule, checkpoint, material, arguments, module)
        return (
            f"EspStreamingExport: the export failed. {type(error).__name__}: {error}\n\n"
            f"Nothing of the training is lost: the weights are in {checkpoint}. To export again:\n\n{retry.code()}\n"
        )

    def _beside(self, suffix: str) -> Path:
        return self.directory.with_name(f"{self.directory.name}.{suffix}")
