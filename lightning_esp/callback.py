"""`EspStreamingExport`, the callback that turns the end of `fit` into a firmware project."""

from __future__ import annotations

import logging
import math
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn

from lightning_esp.aware_training import ExportOptions, exponents_in, find_aware
from lightning_esp.bundle import Bundle, check_output_dir, probe_output_dir, write_failure_note
from lightning_esp.config import Calibration, Deployment, Quantization, Streaming
from lightning_esp.detection import Item, check_detector
from lightning_esp.errors import LightningEspError
from lightning_esp.options import check_arguments
from lightning_esp.pipeline import check_targets, export
from lightning_esp.quantization_aware import Preparation
from lightning_esp.training import (
    Attempt,
    Captured,
    Choice,
    Subject,
    TaskMetrics,
    UnifiedCallback,
    Weights,
    capture_recordings,
    capture_shapes,
    check_choice,
    fill_deployment,
    fill_streaming,
    find_streams,
    has_streams,
    isolate_random,
    log_export,
    make_subject,
    show_progress,
    shows_progress,
    take_start,
)
from lightning_esp.versions import check_versions

_log = logging.getLogger(__name__)

REHEARSAL_RECORDINGS = 8


class EspStreamingExport(Callback, UnifiedCallback):
    """Exports a verified ESP-IDF project when `fit` ends.

    Before the first epoch the whole pipeline runs once on the untrained weights and a few recordings, so what cannot be
    exported fails before training. Training itself is untouched: copies are exported, private loaders read the data, and
    all random states are put back. When `fit` does not end, after Ctrl-C say, call `export`.

    Args:
        target: one chip or several: esp32s3, esp32p4, esp32s31, esp32, esp32s2, esp32c2, esp32c3, esp32c5, esp32c6.
        output_dir: where the bundle goes; the model of an older bundle there is replaced at the end, and what you edited
            around it stays. None: `esp_bundle` in the log directory of the run.
        module: path of the submodule to export, `"."` for the LightningModule itself. None: the LightningModule if it has
            `streaming_forward`, else its only child with parameters.
        weights: `"best"` (of the ModelCheckpoint that has a `monitor`, if there is one) or `"last"`.
        streaming: window, stages and the rest.
        calibration: which part of the data calibrates the quantizer.
        quantization: precision and method.
        deployment: what the bundle holds beside the model.
        dry_run: run the whole pipeline once before the first epoch.
        on_error: `"raise"`, or `"warn"` to end `fit` normally when the export fails. Either way `FAILED.txt` beside
            `output_dir` (or, where nothing can be written, in the `default_root_dir` of the trainer or the temporary
            directory) says why and how to export again, and an older bundle stays.

    Raises:
        ConfigurationError: an argument has a value that cannot work.

    Example:
        >>> callback = EspStreamingExport(target=["esp32s3", "esp32p4"], streaming=Streaming(window=3))
        >>> callback.target
        ('esp32s3', 'esp32p4')
    """

    def __init__(
        self,
        target: str | list[str] = "esp32s3",
        output_dir: str | os.PathLike[str] | None = None,
        module: str | None = None,
        weights: Choice = "best",
        streaming: Streaming = Streaming(),  # noqa: B008  (frozen; a default that LightningCLI can show)
        calibration: Calibration = Calibration(),  # noqa: B008
        quantization: Quantization = Quantization(),  # noqa: B008
        deployment: Deployment = Deployment(),  # noqa: B008
        dry_run: bool = True,
        on_error: Literal["raise", "warn"] = "raise",
    ) -> None:
        super().__init__()
        own = EspStreamingExport.__init__
        check_choice(weights)
        check_arguments(
            own, target=target, output_dir=output_dir, module=module, streaming=streaming, calibration=calibration
        )
        check_arguments(own, quantization=quantization, deployment=deployment, dry_run=dry_run, on_error=on_error)
        self.target = check_targets(target)
        # Of the directory that was the current one then: a launcher may change it before `fit`.
        self.output_dir = None if output_dir is None else os.path.abspath(output_dir)
        self.module = module
        self.weights: Choice = weights
        self.streaming = streaming
        self.calibration = calibration
        self.quantization = quantization
        self.deployment = deployment
        self.dry_run = dry_run
        self.on_error = on_error
        self._directory: Path | None = None
        self._awaits_batch = False
        self._training = False
        self._bundle: Bundle | None = None

    @property
    def bundle(self) -> Bundle | None:
        """The bundle that was written last, on rank zero."""
        return self._bundle

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the options and run the pipeline once."""
        self._bundle = None
        # On every rank: the log directory is agreed on by all of them.
        self._directory = self._find_directory(trainer)
        self._attach(trainer)
        self._rehearse(trainer, pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that training has begun: from here on there is something to lose."""
        self._training = True

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Make up for the dry run if the data could not be copied at fit start."""
        if self._awaits_batch:
            self._awaits_batch = False
            self._rehearse(trainer, pl_module, batch)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The export comes with the end of `fit`."""
        self._training = False

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Export the trained weights, on rank zero; no other rank waits for it."""
        if not trainer.is_global_zero:
            return
        assert self._directory is not None
        if trainer.fast_dev_run and self._directory.exists():  # type: ignore[attr-defined]
            rank_zero_info(f"EspStreamingExport: fast_dev_run leaves {self._directory} as it is.")
            with tempfile.TemporaryDirectory() as temporary:
                self._finish(trainer, pl_module, Path(temporary) / "bundle")
        else:
            self._finish(trainer, pl_module, self._directory)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Say how to export what was trained so far."""
        if not self._training or not trainer.is_global_zero:
            return
        rank_zero_info(
            "EspStreamingExport: training stopped before its end, so nothing was exported. `callback.export(trainer, module)` "
            "exports the best checkpoint so far, or else the weights that the module holds."
        )

    def export(self, trainer: Trainer, module: LightningModule, datamodule: Any = None) -> Bundle | None:
        """Export now: after Ctrl-C, after a time limit, or from a checkpoint under a trainer that never trained.

        Args:
            trainer: the trainer of the run, whose best checkpoint is used as `weights` says; or a new one, and the
                weights that `module` holds are exported.
            module: the LightningModule.
            datamodule: where the data come from; None takes those of the trainer. Its `setup("fit")` is called.

        Returns:
            The bundle; None on other ranks than zero.

        Raises:
            LightningEspError: the export failed; an older bundle is still there.
        """
        directory = self._directory or self._find_directory(trainer)
        if not trainer.is_global_zero:
            return None
        if datamodule is not None:
            datamodule.prepare_data()
            datamodule.setup("fit")
        return self._write(Attempt(trainer, module, directory, datamodule))

    def _attach(self, trainer: Trainer) -> None:
        """Tell quantization-aware training, where there is any, what it prepares for."""
        aware = find_aware(trainer)
        if aware is not None:
            options = (self.module, self.streaming, self.calibration, self.quantization)
            aware.attach(ExportOptions(self.target, *options))

    def _prepared(self, weights: Weights, subject: Subject, captured: Captured) -> dict[str, Preparation]:
        """Return what quantization-aware training computed with, by chip; nothing where it has not begun."""
        aware = find_aware(subject.trainer)
        if aware is None:
            return {}
        states = {} if weights.content is None else weights.content.get("callbacks", {})
        exponents = aware.exponents if weights.content is None else exponents_in(states.get(aware.state_key))
        if exponents is None:
            rank_zero_warn(
                f"EspStreamingExport: {weights.description}, are from before EspQuantAwareTraining began, so the export calibrates "
                "as ever."
            )
            return {}
        self._attach(subject.trainer)
        if aware.preparation is not None and aware.preparation.exponents == exponents:
            return {aware.chip: aware.preparation}
        return {aware.chip: aware.prepare_for(subject, captured, exponents)}

    def _find_directory(self, trainer: Trainer) -> Path:
        if self.output_dir is not None:
            return Path(self.output_dir).resolve()
        return Path(trainer.log_dir or trainer.default_root_dir).resolve() / "esp_bundle"

    def _rehearse(self, trainer: Trainer, module: LightningModule, batch: Any = None) -> None:
        """Rank zero tries, and all ranks share its outcome: none may train on where another one stops."""
        error: Exception | None = None
        if trainer.is_global_zero:
            try:
                self._awaits_batch = not self._try_pipeline(trainer, module, batch)
            except Exception as caught:
                error = caught
        message = None if error is None else f"{type(error).__name__}: {error}"
        message, self._awaits_batch = trainer.strategy.broadcast((message, self._awaits_batch))
        if message is None:
            return
        if self.on_error == "warn":
            rank_zero_warn(f"EspStreamingExport: this model cannot be exported, as its dry run says. {message}")
            return
        raise error or LightningEspError(f"the dry run failed on rank zero. {message}")

    def _try_pipeline(self, trainer: Trainer, module: LightningModule, batch: Any) -> bool:
        """Run the pipeline on the weights as they are; False where it has to wait for a batch of training."""
        assert self._directory is not None
        check_versions()
        probe_output_dir(self._directory)
        check_detector(self.deployment, has_streams(trainer, module))
        if not self.dry_run:
            return True
        few = replace(self.calibration, max_recordings=min(REHEARSAL_RECORDINGS, self.calibration.max_recordings))
        with isolate_random(few.seed), torch.inference_mode(False), torch.enable_grad():
            subject = make_subject(trainer, module, self.module, None)
            if batch is None:
                captured = capture_recordings(subject, self.streaming, few, rehearsal=True)
            else:
                captured = capture_shapes(subject, batch, self.streaming)
        if captured.failure:
            rank_zero_info(
                f"EspStreamingExport: {captured.failure}. Reading the data would change the training, so the dry run waits "
                "for the first training batch and uses one random input of the shape captured there."
            )
            return False
        task = TaskMetrics(subject, self.quantization.tolerance, limit=1, seed=few.seed, rehearsal=True)
        with tempfile.TemporaryDirectory() as temporary:
            self._export(subject, captured, Path(temporary) / "bundle", task, rehearsal=True)
        return True

    def _finish(self, trainer: Trainer, module: LightningModule, directory: Path) -> None:
        attempt = Attempt(trainer, module, directory)
        try:
            self._write(attempt)
        except (Exception, KeyboardInterrupt) as error:
            message = attempt.keep(error, self._arguments(directory), self.module, write_failure_note)
            for logger in trainer.loggers:
                logger.log_metrics({"export/failed": 1.0}, step=trainer.global_step)
            if self.on_error == "raise" or isinstance(error, KeyboardInterrupt):
                _log.error(message)
                raise
            rank_zero_warn(message)

    def _write(self, attempt: Attempt) -> Bundle:
        check_versions()
        check_output_dir(attempt.directory)
        weights, subject, captured = attempt.prepare(self.weights, self.module, self.streaming, self.calibration)
        rank_zero_info(
            f"EspStreamingExport: exporting {subject.name} with {weights.description}, calibrated on "
            f"{len(captured.recordings)} recordings of {captured.source}."
        )
        task = TaskMetrics(subject, self.quantization.tolerance, seed=self.calibration.seed)
        with isolate_random(self.calibration.seed):
            prepared = self._prepared(weights, subject, captured)
        self._bundle = self._export(subject, captured, attempt.directory, task, prepared=prepared)
        log_export(attempt.trainer, self._bundle.path, self._bundle.manifest)
        rank_zero_info(_describe(self._bundle))
        return self._bundle

    def _export(
        self,
        subject: Subject,
        captured: Captured,
        directory: Path,
        task: TaskMetrics,
        *,
        rehearsal: bool = False,
        prepared: Mapping[str, Preparation] | None = None,
    ) -> Bundle:
        shown = not rehearsal and shows_progress(subject.trainer)
        with show_progress(shown) as update, isolate_random(self.calibration.seed):
            match, network = captured.match, subject.module
            streams, deployment = self._listen(subject, captured, rehearsal)
            # Weights that are not trained yet say nothing about the precision that they will need.
            tolerance = math.inf if rehearsal else self.quantization.tolerance
            return export(
                network if match is None else match.dress(network),
                captured.recordings if match is None else match.waveforms,
                directory,
                self.target,
                replace(fill_streaming(self.streaming, subject), time_axis=captured.time_axis),
                self.calibration,
                replace(self.quantization, tolerance=tolerance),
                fill_deployment(deployment, subject),
                front_end=None if match is None else match.front_end,
                evaluate=task if match is None else lambda stream: task(match.undress(stream)),
                streams=streams,
                progress=update,
                rehearsal=rehearsal,
                prepared=prepared,
            )

    def _listen(
        self, subject: Subject, captured: Captured, rehearsal: bool
    ) -> tuple[Iterable[Item] | None, Deployment]:
        """The validation streams, and the deployment that goes with them."""
        detector = self.deployment.detector
        if detector is None:
            return None, self.deployment
        if captured.made_up:
            # Random inputs of a known shape tell nothing of a front end, so no stream fits them.
            waits = detector.threshold == "auto"
            return None, replace(self.deployment, detector=replace(detector, threshold=0.5) if waits else detector)
        streams = find_streams(subject)
        return (take_start(streams) if rehearsal and streams is not None else streams), self.deployment

    def _arguments(self, directory: Path) -> dict[str, Any]:
        """Return the options that this callback shares with `export`, for an export in another process."""
        defaults = {
            "streaming": Streaming(),
            "calibration": Calibration(),
            "quantization": Quantization(),
            "deployment": Deployment(),
        }
        changed = {name: getattr(self, name) for name, value in defaults.items() if getattr(self, name) != value}
        return {"output_dir": directory, "target": list(self.target), **changed}


def _describe(bundle: Bundle) -> str:
    """The last line of an export."""
    told = f"EspStreamingExport: wrote {bundle.path}."
    if bundle.doubts:
        count = f"{len(bundle.doubts)} of its proofs {'is' if len(bundle.doubts) == 1 else 'are'} amber"
        told = "\n  ".join([f"{told} {count}; look at them before you flash it:", *bundle.doubts])
    if bundle.edits:
        told = f"{told}\n  Left as you edited them: {', '.join(map(str, bundle.edits))}."
    return told
