"""`Distill`: a small network learns from a large one while it is trained."""

from __future__ import annotations

import os
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_esp.errors import ConfigurationError, DataError
from lightning_esp.options import check_arguments
from lightning_esp.training.package import UnifiedCallback
from lightning_esp.training.selection import find_module


class Distill(Callback, UnifiedCallback):
    """Lightning callback that adds a term to the loss of each training step: the student's scores should be the teacher's.

    The teacher sees what the student sees, augmentations included, in the same step. The loss that is trained becomes
    `(1 - weight) * loss + weight * temperature^2 * KL(teacher || student)`, both softened by the temperature (Hinton et al.,
    "Distilling the Knowledge in a Neural Network", 2015), averaged over the batch and, for scores of every frame, over the
    frames. The term is logged as `distillation`; what the run logs itself stays its own. The teacher is in no checkpoint of
    the student and in no export.

    Args:
        teacher: path of a checkpoint of a LightningModule of the student's class, with hyperparameters of its own (Lightning
            saves them by `save_hyperparameters()`); or a module that takes what the student takes and gives scores of the
            same shape.
        temperature: what logits of both are divided by; above 1 the classes that are not right tell more.
        weight: of the term, 0 to 1; the run's own loss has the rest.
        module: path of the student in the LightningModule. None: what `EspStreamingExport` would export.
        axis: axis of the classes in the logits: 1 for `[batch, classes]` and `[batch, classes, frames]`, -1 for
            `[batch, frames, classes]`.

    Raises:
        ConfigurationError: an argument has a value that cannot work.
    """

    def __init__(
        self,
        teacher: str | os.PathLike[str] | nn.Module,
        temperature: float = 2.0,
        weight: float = 0.5,
        module: str | None = None,
        axis: int = 1,
    ) -> None:
        super().__init__()
        check_arguments(
            Distill.__init__, teacher=teacher, temperature=temperature, weight=weight, module=module, axis=axis
        )
        if temperature <= 0:
            raise ConfigurationError(f"Distill(temperature={temperature}) must be a positive number.")
        if not 0 < weight <= 1:
            raise ConfigurationError(
                f"Distill(weight={weight}) must be above 0 and at most 1; leave the callback out for 0."
            )
        self.teacher, self.module = teacher, module
        self.temperature, self.weight, self.axis = temperature, weight, axis
        self._network: nn.Module | None = None
        self._tap: _Tap | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Load the teacher.

        Raises:
            ConfigurationError: the checkpoint is none of the student's class, or the module optimizes by hand.
        """
        if not pl_module.automatic_optimization:
            raise ConfigurationError(
                f"Distill adds to the loss that Lightning optimizes, but {type(pl_module).__name__} has automatic_optimization = "
                "False. Add `kl_divergence` to its own loss instead."
            )
        self._network = self._load(pl_module).to(pl_module.device).eval().requires_grad_(False)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Listen to the student for one step."""
        self._tap = _Tap(pl_module.get_submodule(find_module(pl_module, self.module)))

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Add the term to the loss.

        Raises:
            DataError: the step did not run the student, or teacher and student give different shapes.
        """
        calls = [] if self._tap is None else self._tap.close()
        if not calls:
            raise DataError(
                f"Distill: the training step did not call {self.module or 'the network'!r}, so there is nothing to learn; name "
                "the module that it calls, Distill(module=...)."
            )
        term = torch.stack([self._compare(*call) for call in calls]).mean()
        pl_module.log("distillation", term.detach())
        # Lightning has scaled the loss for mixed precision and for accumulated batches already.
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        scale = (scaler.get_scale() if scaler is not None else 1.0) / trainer.accumulate_grad_batches
        # In place: a callback cannot hand another loss to Lightning.
        loss.mul_(1 - self.weight).add_(term.to(loss.dtype), alpha=self.weight * scale)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Leave the student alone."""
        if self._tap is not None:
            self._tap.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave the student alone."""
        if self._tap is not None:
            self._tap.close()

    def _load(self, pl_module: LightningModule) -> nn.Module:
        if isinstance(self.teacher, nn.Module):
            return self.teacher
        kind, path = type(pl_module), os.fspath(self.teacher)
        try:
            loaded = kind.load_from_checkpoint(path, map_location=pl_module.device)
        except (OSError, RuntimeError, TypeError, KeyError) as error:
            raise ConfigurationError(
                f"Distill(teacher={path!r}) is no checkpoint that {kind.__name__} can be made of: {error}. Give a checkpoint of "
                "the same class, whose hyperparameters were saved, or the module itself."
            ) from error
        return loaded.get_submodule(find_module(loaded, self.module))

    def _compare(self, inputs: tuple[Any, ...], named: dict[str, Any], student: Any) -> Tensor:
        assert self._network is not None
        with torch.no_grad():
            teacher = self._network(*inputs, **named)
        shapes = [
            tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__ for found in (teacher, student)
        ]
        if shapes[0] != shapes[1] or not isinstance(student, Tensor):
            raise DataError(
                f"Distill: the teacher gives {shapes[0]} and the student {shapes[1]}; both must give one tensor of the same "
                "classes and frames. Train the teacher on the same labels and features."
            )
        return kl_divergence(student, teacher, self.temperature, self.axis)


def kl_divergence(student: Tensor, teacher: Tensor, temperature: float = 1.0, axis: int = 1) -> Tensor:
    """Compute how far softened scores are from a teacher's, times the temperature squared.

    Args:
        student: logits.
        teacher: logits of the same shape.
        temperature: what both are divided by.
        axis: of the classes.

    Returns:
        A scalar in nats, the mean over all other axes.

    Example:
        >>> kl_divergence(torch.zeros(1, 2), torch.tensor([[0.0, 30.0]])).item()  # a coin against certainty: ln 2
        0.6931471824645996
    """
    soft = F.log_softmax(student.movedim(axis, -1).flatten(0, -2) / temperature, dim=-1)
    wanted = F.log_softmax(teacher.movedim(axis, -1).flatten(0, -2) / temperature, dim=-1)
    return F.kl_div(soft, wanted, reduction="batchmean", log_target=True) * temperature**2


class _Tap:
    """Notes the calls of a module; a copy of it notes nothing, so that copies of the module are plain."""

    def __init__(self, module: nn.Module | None) -> None:
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any], Any]] = []
        self._handle = None if module is None else module.register_forward_hook(self, with_kwargs=True)

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        if self._handle is not None and torch.is_grad_enabled():
            self.calls.append((inputs, named, output))

    def __deepcopy__(self, memo: dict[int, Any]) -> _Tap:
        return _Tap(None)

    def close(self) -> list[tuple[tuple[Any, ...], dict[str, Any], Any]]:
        """Stop noting, and return what was noted."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None
        calls, self.calls = self.calls, []
        return calls
