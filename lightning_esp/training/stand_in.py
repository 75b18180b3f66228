"""A trainer that stands in for the user's while a step of theirs runs apart from the training.

To the step it looks like a sanity check, by which Lightning's documentation tells people to guard what writes files or
needs a past; and it shows the user's own figures.
"""

from __future__ import annotations

import sys
from typing import Any

from pytorch_lightning import LightningModule, Trainer

from lightning_esp.training.package import is_lightning

# What a step may read of the run that it belongs to. Nothing here may talk to other processes, which take no part: `log_dir`
# is broadcast.
_SHOWN = (
    "checkpoint_callback",
    "current_epoch",
    "global_step",
    "lr_scheduler_configs",
    "max_epochs",
    "max_steps",
    "min_epochs",
    "num_training_batches",
    "optimizers",
)


def stand_in_for(trainer: Trainer, base: type[Trainer], guarded: bool) -> type[Trainer]:
    """Return a subclass of `base` whose trainers show what the user's trainer shows; `own_metrics` are of their own run.

    Args:
        trainer: the user's trainer; only read.
        base: a class of trainers.
        guarded: look like a sanity check.
    """
    shown = {name: property(_reader(trainer, name), getattr(getattr(base, name), "fset", None)) for name in _SHOWN}
    past = past_metrics(trainer)

    def callback_metrics(self: Any) -> dict[str, Any]:
        return {**past, **self.own_metrics}

    members = {
        **shown,
        "callback_metrics": property(callback_metrics),
        "own_metrics": base.callback_metrics,
        **({"sanity_checking": _SANITY} if guarded else {}),
    }
    return type(f"StandIn{base.__name__}", (base,), members)


def past_metrics(trainer: Trainer) -> dict[str, Any]:
    """Return the metrics that the user's trainer has computed; its own property might compute, and wait for other processes."""
    return dict(trainer._logger_connector._callback_metrics)


def _reader(trainer: Trainer, name: str) -> Any:
    return lambda self: getattr(trainer, name)


def _is_sanity_checking(self: Any) -> bool:
    # Lightning's own loops would drop the metrics of a sanity check.
    return not is_lightning(sys._getframe(1).f_globals.get("__name__", ""))


_SANITY = property(_is_sanity_checking, lambda self, value: None)


def show_optimizers(module: LightningModule, trainer: Trainer) -> None:
    """Let `self.optimizers()` and `self.lr_schedulers()` of a copy return those of the user's trainer, to be read."""

    def optimizers(use_pl_optimizer: bool = True) -> Any:
        found = list(trainer.optimizers)
        return found[0] if len(found) == 1 else found

    def lr_schedulers() -> Any:
        found = [config.scheduler for config in trainer.lr_scheduler_configs]
        return None if not found else found[0] if len(found) == 1 else found

    vars(module).update(optimizers=optimizers, lr_schedulers=lr_schedulers)
