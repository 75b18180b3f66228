"""One attempt to export what was trained, and what is kept when it fails."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from pytorch_lightning import LightningModule, Trainer

from lightning_esp.config import Calibration, Deployment, Streaming
from lightning_esp.detection import Item
from lightning_esp.training.copying import isolate_random
from lightning_esp.training.recordings import Captured, capture_recordings
from lightning_esp.training.recovery import Retry, save_material, save_weights
from lightning_esp.training.settings import fill_deployment, fill_streaming
from lightning_esp.training.streams import find_streams
from lightning_esp.training.subject import Subject, make_subject
from lightning_esp.training.weights import Choice, Weights, choose_weights

Note: TypeAlias = Callable[[Path, str, Path], Path]


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

    def keep(self, error: BaseException, arguments: Mapping[str, Any], module: str | None, note: Note) -> str:
        """Save what another export needs, and a note: beside the bundle, or else where something can be written.

        Args:
            error: what stopped this one.
            arguments: arguments that `EspStreamingExport` and `export` share.
            module: `EspStreamingExport(module=...)`.
            note: writes a message about a bundle into a folder, and returns the file.

        Returns:
            What happened, where the weights are, and code that exports again.
        """
        *places, last = (self.directory.parent, Path(self.trainer.default_root_dir), Path(tempfile.gettempdir()))
        for folder in places:
            # torch tells of a place that it cannot write by a RuntimeError.
            with suppress(OSError, RuntimeError):
                return self._note(note, folder, self._keep_in(folder, error, arguments, module))
        return self._note(note, last, self._keep_in(last, error, arguments, module))

    def _note(self, note: Note, folder: Path, message: str) -> str:
        written = note(self.directory, message, folder)
        return message if folder == self.directory.parent else f"{message}\nThis stands in {written}, too.\n"

    def _keep_in(self, folder: Path, error: BaseException, arguments: Mapping[str, Any], module: str | None) -> str:
        datamodule: Any = self.datamodule if self.datamodule is not None else getattr(self.trainer, "datamodule", None)
        path = folder / self.directory.name[:100]
        checkpoint = None if self.weights is None else self.weights.checkpoint
        if checkpoint is None:
            checkpoint = save_weights(self.module, datamodule, path.with_name(f"{path.name}.failed.ckpt"))
        material = None
        complete = arguments
        if self.subject is not None and self.captured is not None:
            match, network = self.captured.match, self.subject.module
            place, streams = path.with_name(f"{path.name}.failed.pt"), self._read_streams(arguments)
            if match is None:
                material = save_material(network, self.captured.recordings, None, streams, place)
            else:
                material = save_material(match.dress(network), match.waveforms, match.front_end, streams, place)
            complete = _fill(arguments, self.subject, self.captured)
        retry = Retry(self.trainer, self.module, datamodule, checkpoint, material, arguments, complete, module)
        return (
            f"EspStreamingExport: the export failed. {type(error).__name__}: {error}\n\n"
            f"Nothing of the training is lost: the weights are in {checkpoint}. To export again:\n\n{retry.code()}\n"
        )

    def _read_streams(self, arguments: Mapping[str, Any]) -> list[Item] | None:
        """Validation streams, on which thresholds are chosen; None where none are needed, or where they are what failed."""
        if self.subject is None or arguments.get("deployment", Deployment()).detector is None:
            return None
        try:
            with isolate_random(arguments.get("calibration", Calibration()).seed):
                streams = find_streams(self.subject)
                return None if streams is None else list(streams)
        except Exception:  # the user's own code; what it raises was told already, or is told by the next export
            return None


def _fill(arguments: Mapping[str, Any], subject: Subject, captured: Captured) -> dict[str, Any]:
    """Add the frame period, the axis of time and the labels that the run knows, so that `export` needs no trainer."""
    streaming = replace(fill_streaming(arguments.get("streaming", Streaming()), subject), time_axis=captured.time_axis)
    deployment = fill_deployment(arguments.get("deployment", Deployment()), subject)
    found = {"streaming": (streaming, Streaming()), "deployment": (deployment, Deployment())}
    return {**arguments, **{name: value for name, (value, default) in found.items() if value != default}}
