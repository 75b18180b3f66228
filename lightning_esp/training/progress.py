"""Progress bars of an export, in the manner of Lightning's own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm

Progress = Callable[[str, int, int], None]
TITLES = {"calibrate": "Calibrating", "quantize": "Quantizing", "evaluate": "Evaluating", "listen": "Listening"}


def shows_progress(trainer: Trainer) -> bool:
    """Tell whether the trainer has a progress bar that is switched on."""
    bar = trainer.progress_bar_callback
    return bar is not None and bool(getattr(bar, "is_enabled", True))


@contextmanager
def show_progress(enabled: bool) -> Iterator[Progress]:
    """Show one bar per phase while the block runs.

    Args:
        enabled: False shows nothing.

    Yields:
        A function of phase, what is done and what there is in all.
    """
    bars: dict[str, Any] = {}

    def update(phase: str, done: int, total: int) -> None:
        if phase not in bars:
            for bar in bars.values():
                bar.close()
            bars[phase] = Tqdm(
                desc=TITLES.get(phase, phase.capitalize()),
                total=total,
                disable=not enabled,
                dynamic_ncols=True,
                file=sys.stdout,
                smoothing=0,
            )
        bars[phase].n = done
        bars[phase].refresh()

    try:
        yield update
    finally:
        for bar in bars.values():
            bar.close()
