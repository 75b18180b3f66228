"""`EspQuantAwareTraining`, the callback whose last epochs compute as the chip does."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_info
from torch import nn

from lightning_esp.config import Calibration, Quantization, Streaming
from lightning_esp.conversion import Recordings, StreamingModel, admit, inner_module, keep
from lightning_esp.errors import ConfigurationError, LightningEspError
from lightning_esp.frontend import FrontEnd, Normalize, find_inside
from lightning_esp.options import check_arguments
from lightning_esp.pipeline import check_targets, stream
from lightning_esp.quantization import Exponents, Worker
from lightning_esp.quantization_aware import Preparation, QuantizedForward, prepare
from lightning_esp.training import (
    Captured,
    Subject,
    UnifiedCallback,
    capture_recordings,
    fill_streaming,
    find_module,
    isolate_random,
    make_subject,
)

REHEARSAL_RECORDINGS = 8


@dataclass(frozen=True)
class ExportOptions:
    """Options of the export that training prepares for: those of `EspStreamingExport`, by the same names."""

    targets: tuple[str, ...]
    module: str | None
    streaming: Streaming
    calibration: Calibration
    quantization: Quantization


class EspQuantAwareTraining(Callback, UnifiedCallback):
    """Lets the last epochs of `fit` compute as the chip does, so that the weights learn to live with its integers.

    It stands beside `EspStreamingExport`, with whose options it converts, calibrates and quantizes the network when the epoch
    `start` begins. From then on the network's forward, in training and validation, gives the dequantized integers of that chip,
    bit for bit, and straight-through gradients to the same parameters. Dropout and noise are off in it, and batch norms keep
    their statistics, since the export folds them. Exponents follow the weights until `freeze`; the export takes exactly these.
    Of the checkpoints of a `ModelCheckpoint` with a monitor, those from before `start` no longer count as the best.

    Args:
        start: the first epoch of it, from 0; or a share of all epochs below 1, `0.75` say for the last quarter.
        freeze: from which epoch on the exponents stay, likewise. None: from the middle of these epochs.
        precision: "int8" or "int16". None: that of the export.
        target: the chip. None: the first of the export. Other chips of the export are calibrated as ever.

    Raises:
        ConfigurationError: an argument has a value that cannot work.

    Example:
        >>> callback = EspQuantAwareTraining(start=0.8, target="esp32p4")
        >>> callback.first_epoch(50)
        40
    """

    def __init__(
        self,
        start: int | float = 0.75,
        freeze: int | float | None = None,
        precision: Literal["int8", "int16"] | None = None,
        target: str | None = None,
    ) -> None:
        super().__init__()
        own = EspQuantAwareTraining.__init__
        check_arguments(own, start=start, freeze=freeze, precision=precision, target=target)
        _check_place("start", start)
        if freeze is not None:
            _check_place("freeze", freeze)
        self.start, self.freeze = start, freeze
        self.precision, self.target = precision, None if target is None else check_targets(target)[0]
        self.options: ExportOptions | None = None
        self.exponents: Exponents | None = None
        self.preparation: Preparation | None = None
        self._forward: QuantizedForward | None = None
        self._replaced: list[tuple[nn.Module, Any]] = []

    def first_epoch(self, epochs: int | None) -> int:
        """Return the epoch at which training begins to compute as the chip does.

        Args:
            epochs: `max_epochs` of the trainer.

        Raises:
            ConfigurationError: there is no such epoch.
        """
        return _epoch_of("start", self.start, epochs)

    def frozen_epoch(self, epochs: int | None) -> int:
        """Return the epoch from which on the exponents stay what they are."""
        first = self.first_epoch(epochs)
        if self.freeze is not None:
            return max(first, _epoch_of("freeze", self.freeze, epochs))
        return first + 1 if epochs is None or epochs < 0 else first + (epochs - first + 1) // 2

    @property
    def chip(self) -> str:
        """The chip that training computes as."""
        assert self.options is not None
        return self.target or self.options.targets[0]

    def attach(self, options: ExportOptions) -> None:
        """Take the options of the export.

        Raises:
            ConfigurationError: they contradict those of this callback.
        """
        if self.target is not None and self.target not in options.targets:
            raise ConfigurationError(
                f"EspQuantAwareTraining(target={self.target!r}) is none of EspStreamingExport(target={list(options.targets)}); "
                "train for a chip that is exported."
            )
        wanted = options.quantization
        if wanted.precision == "auto":
            raise ConfigurationError(
                "EspStreamingExport(quantization=Quantization(precision='auto')) chooses a precision after training, and "
                "EspQuantAwareTraining must know it before; give 'int8' or 'int16'."
            )
        if self.precision is not None and self.precision != wanted.precision:
            raise ConfigurationError(
                f"EspQuantAwareTraining(precision={self.precision!r}) contradicts EspStreamingExport(quantization=Quantization("
                f"precision={wanted.precision!r})); give one of them, or the same."
            )
        changing = "equalization" if wanted.equalization else "refinement" if wanted.refinement else ""
        if changing:
            raise ConfigurationError(
                f"Quantization({changing}={getattr(wanted, changing)!r}) changes the weights after training, so training would not "
                "have seen them; leave it out, which EspQuantAwareTraining takes the place of."
            )
        self.options = options

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget the run before, if there was one; a checkpoint that is resumed tells its exponents after this."""
        if stage == "fit":
            self.exponents = self.preparation = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the options, and prepare once before there is something to lose.

        Raises:
            ConfigurationError: there is no `EspStreamingExport`, or `start` lies behind the last epoch.
            LightningEspError: the network cannot be exported, or training has no form of one of its operators.
        """
        if self.options is None:
            raise ConfigurationError(
                "EspQuantAwareTraining prepares for an export, and the trainer has no EspStreamingExport; add one, "
                "Trainer(callbacks=[EspQuantAwareTraining(), EspStreamingExport()])."
            )
        first = self.first_epoch(trainer.max_epochs)
        if trainer.max_epochs is not None and 0 <= trainer.max_epochs <= first:
            raise ConfigurationError(
                f"EspQuantAwareTraining(start={self.start}) begins in epoch {first}, and training ends after "
                f"{trainer.max_epochs} epochs; give an earlier one."
            )
        if trainer.current_epoch < first:
            self._share(trainer, pl_module, rehearsal=True)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin, or let the exponents follow the weights, where this epoch is one for it."""
        epoch, epochs = trainer.current_epoch, trainer.max_epochs
        first, frozen = self.first_epoch(epochs), self.frozen_epoch(epochs)
        if epoch < first or (self._forward is not None and epoch >= max(frozen, first + 1)):
            return
        begins = self.exponents is None
        self._remove()
        found = self._share(trainer, pl_module, None if begins or epoch < frozen else self.exponents)
        if found is None:
            return
        self.preparation, layout = found
        self.exponents = self.preparation.exponents
        self._install(pl_module, layout)
        if begins:
            _forget_best(trainer)
            rank_zero_info(
                f"EspQuantAwareTraining: from epoch {epoch} on the network computes as the {self.chip} does, in "
                f"{self.preparation.quantized.precision}."
            )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Make sure that the step calls what was replaced.

        Raises:
            ConfigurationError: it does not.
        """
        if self._forward is not None and self._forward.calls == 0:
            raise ConfigurationError(
                "EspQuantAwareTraining replaces the forward of the exported module, and training_step did not call it, so it would "
                "train something else. Call the module itself, self.network(x), not its layers."
            )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the network its own forward back."""
        self._remove()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give the network its own forward back."""
        self._remove()

    def state_dict(self) -> dict[str, Any]:
        """Return the exponents, which are all that training remembers of the chip."""
        return {"exponents": None if self.exponents is None else {k: list(v) for k, v in self.exponents.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the exponents of a checkpoint."""
        self.exponents = exponents_in(state_dict)

    def prepare_for(self, subject: Subject, captured: Captured, exponents: Exponents | None) -> Preparation:
        """Quantize the network of an export, and find its parameters.

        Args:
            subject: what is exported.
            captured: what it sees.
            exponents: those that are fixed; None: they are calibrated.
        """
        options = self.options
        assert options is not None
        module, match = subject.module, captured.match
        if find_inside(module) is not None:
            raise ConfigurationError(
                f"EspQuantAwareTraining: {subject.name} has its front end inside, and integers begin behind it. Keep the front end "
                "outside of the exported module, beside it in the LightningModule."
            )
        recordings: Recordings = captured.recordings
        front_end: FrontEnd | Normalize | None = None
        if match is not None:
            front_end, module = match.front_end, match.dress(module)
            recordings = [match.layout.undo(recording[None])[0] for recording in captured.recordings]  # type: ignore[index]
        streaming = replace(fill_streaming(options.streaming, subject), time_axis=captured.time_axis)

        def make(network: nn.Module, window: int | None) -> StreamingModel:
            admitted = admit(network).float().cpu()
            keep(admitted, streaming.outputs)
            wanted = streaming if window is None else replace(streaming, window=window, latency=None)
            return stream(admitted, recordings, wanted, options.targets, front_end)[0]

        with torch.autocast("cpu", enabled=False), Worker() as worker:
            return prepare(
                module,
                make,
                recordings,
                options.calibration,
                options.quantization,
                self.chip,
                worker=worker,
                exponents=exponents,
            )

    def _share(
        self, trainer: Trainer, module: LightningModule, exponents: Exponents | None = None, *, rehearsal: bool = False
    ) -> tuple[Preparation, Any] | None:
        """Prepare on rank zero, and give all ranks what came of it: none may train on where another one stops."""
        found: tuple[Preparation, Any] | None = None
        error: Exception | None = None
        if trainer.is_global_zero:
            try:
                found = self._prepare(trainer, module, exponents, rehearsal)
            except Exception as caught:
                error = caught
        message = None if error is None else f"{type(error).__name__}: {error}"
        message, found = trainer.strategy.broadcast((message, found))
        if message is not None:
            raise error or LightningEspError(f"EspQuantAwareTraining failed on rank zero. {message}")
        return found

    def _prepare(
        self, trainer: Trainer, module: LightningModule, exponents: Exponents | None, rehearsal: bool
    ) -> tuple[Preparation, Any] | None:
        options = self.options
        assert options is not None
        few = options.calibration
        if rehearsal:
            few = replace(few, max_recordings=min(REHEARSAL_RECORDINGS, few.max_recordings))
        with isolate_random(few.seed), torch.inference_mode(False), torch.enable_grad():
            subject = make_subject(trainer, module, options.module, None)
            captured = capture_recordings(subject, options.streaming, few, rehearsal=rehearsal)
            if captured.failure and rehearsal:
                return None
            prepared = self.prepare_for(subject, captured, exponents)
        layout = None if captured.match is None else captured.match.layout
        return prepared, layout

    def _install(self, pl_module: LightningModule, layout: Any) -> None:
        assert self.preparation is not None
        assert self.options is not None
        outer = pl_module.get_submodule(find_module(pl_module, self.options.module))
        inner = inner_module(outer)
        self._forward = QuantizedForward(self.preparation.image(), inner, None if layout is None else layout.undo)
        function: Any = self._forward
        if "torch._dynamo" in sys.modules:
            # What was compiled holds the network's own forward.
            torch._dynamo.reset()
            function = torch._dynamo.disable(self._forward.__call__)  # type: ignore[no-untyped-call]
        for part in {id(outer): outer, id(inner): inner}.values():
            self._replaced.append((part, vars(part).get("forward")))
            vars(part)["forward"] = function

    def _remove(self) -> None:
        for part, before in self._replaced:
            if before is None:
                vars(part).pop("forward", None)
            else:
                vars(part)["forward"] = before
        if self._replaced and "torch._dynamo" in sys.modules:
            torch._dynamo.reset()
        self._replaced, self._forward = [], None


def find_aware(trainer: Trainer) -> EspQuantAwareTraining | None:
    """Return the callback among those of a trainer; None where there is none."""
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return next((callback for callback in callbacks if isinstance(callback, EspQuantAwareTraining)), None)


def exponents_in(state: Mapping[str, Any] | None) -> Exponents | None:
    """Return the exponents in the state of the callback, as a checkpoint holds it; None where it had none yet."""
    found = None if state is None else state.get("exponents")
    return None if found is None else {name: tuple(values) for name, values in found.items()}


def _check_place(name: str, value: int | float) -> None:
    if value < 0 or (isinstance(value, float) and value >= 1):
        raise ConfigurationError(
            f"EspQuantAwareTraining({name}={value}) must be an epoch, a whole number from 0, or a share of all epochs from 0.0 to "
            "less than 1.0."
        )


def _epoch_of(name: str, value: int | float, epochs: int | None) -> int:
    if isinstance(value, int):
        return value
    if epochs is None or epochs < 0:
        raise ConfigurationError(
            f"EspQuantAwareTraining({name}={value}) is a share of all epochs, and Trainer(max_epochs={epochs}) does not say how "
            f"many there are; give an epoch, {name}=10 say."
        )
    # In floating point, 0.7 * 10 is 7.000000000000001.
    return min(math.ceil(value * epochs - 1e-9), max(epochs - 1, 0))


def _forget_best(trainer: Trainer) -> None:
    """Let no ModelCheckpoint take weights from before for the best: their metric is that of another arithmetic."""
    callbacks: list[Any] = trainer.checkpoint_callbacks
    for callback in callbacks:
        if getattr(callback, "monitor", None) and hasattr(callback, "best_k_models"):
            callback.best_k_models = {}
            callback.best_model_path, callback.kth_best_model_path = "", ""
            callback.best_model_score = None
