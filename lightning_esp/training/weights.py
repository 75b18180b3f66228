"""Choice of the weights that are exported."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from pytorch_lightning import Trainer

from lightning_esp.errors import ConfigurationError

Choice = Literal["best", "last"]


@dataclass(frozen=True)
class Weights:
    """Weights to export.

    Args:
        description: which they are, for the user.
        checkpoint: the file that they come from; None for those that the module holds.
        content: what the file holds; None for those that the module holds.
    """

    description: str
    checkpoint: Path | None = None
    content: dict[str, Any] | None = field(default=None, repr=False)


def check_choice(weights: str) -> None:
    """Check `EspStreamingExport(weights=...)`.

    Raises:
        ConfigurationError: it is neither `"best"` nor `"last"`.
    """
    if weights not in ("best", "last"):
        raise ConfigurationError(
            f"EspStreamingExport(weights={weights!r}) must be 'best' (of the ModelCheckpoint that has a monitor) or 'last'."
        )


def choose_weights(trainer: Trainer, choice: Choice) -> Weights:
    """Return the best weights that a ModelCheckpoint with a `monitor` has kept, or those that the module holds.

    A WeightAveraging callback puts averaged weights into every checkpoint, and into the module when training ends, so
    both are averaged then.

    Args:
        trainer: the user's trainer.
        choice: what the user asked for.
    """
    averaged = ", averaged" if _averages(trainer) else ""
    if choice == "last":
        return Weights(f"the last weights{averaged}")
    callback = find_monitor(trainer)
    if callback is None:
        return Weights(f"the last weights{averaged}; no ModelCheckpoint has a monitor")
    path = Path(callback.best_model_path)
    if not callback.best_model_path or not path.is_file():
        reason = f"{path} is gone" if callback.best_model_path else f"no checkpoint by {callback.monitor} was written"
        return Weights(f"the last weights{averaged}; {reason}")
    # Written by this very run, and hyperparameters in it may be of any class.
    content = torch.load(path, map_location="cpu", weights_only=False)
    score = "" if callback.best_model_score is None else f" = {float(callback.best_model_score):.4g}"
    return Weights(f"the best weights{averaged}, {callback.monitor}{score}, from {path}", path, content)


def find_monitor(trainer: Trainer) -> Any:
    """The first ModelCheckpoint that has a `monitor`, or None."""
    return next((c for c in trainer.checkpoint_callbacks if getattr(c, "monitor", None)), None)


def _averages(trainer: Trainer) -> bool:
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return any(cls.__name__ == "WeightAveraging" for callback in callbacks for cls in type(callback).__mro__)
