"""One attempt to export what was trained, and what is kept when it fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer

from lightning_esp.config import Calibration, Deployment, Streaming
from lightning_esp.training.copying import isolate_random
from lightning_esp.training.listening import find_front_end
from lightning_esp.training.recordings import Captured, capture_recordings
from lightning_esp.training.recovery import Retry, save_material, save_weights
from lightning_esp.training.settings import fill_deployment, fill_streaming
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
        complete = arguments
        if self.subject is not None and self.captured is not None:
            listens = self.captured.waveforms is not None
            front_end = find_front_end(self.subject.original) if listens else None
            recordings = self.captured.waveforms or self.captured.recordings
            material = save_material(self.subject, recordings, front_end, self._beside("failed.pt"))
            complete = _fill(arguments, self.subject, self.captured)
        retry = Retry(self.trainer, self.module, datamodule, checkpoint, material, arguments, complete, module)
        return (
            f"EspStreamingExport: the export failed. {type(error).__name__}: {error}\n\n"
            f"Nothing of the training is lost: the weights are in {checkpoint}. To export again:\n\n{retry.code()}\n"
        )

    def _beside(self, suffix: str) -> Path:
        return self.directory.with_name(f"{self.directory.name}.{suffix}")


def _fill(arguments: Mapping[str, Any], subject: Subject, captured: Captured) -> dict[str, Any]:
    """Add the frame period, the axis of time and the labels that the run knows, so that `export` needs no trainer."""
    streaming = replace(fill_streaming(arguments.get("streaming", Streaming()), subject), time_axis=captured.time_axis)
    deployment = fill_deployment(arguments.get("deployment", Deployment()), subject)
    found = {"streaming": (streaming, Streaming()), "deployment": (deployment, Deployment())}
    return {**arguments, **{name: value for name, (value, default) in found.items() if value != default}}
