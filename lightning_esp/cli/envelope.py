"""Curves of any length, kept as lows and highs of at most so many equal stretches."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.floating[Any]]

# More than twice what a plot has pixels.
_STRETCHES = 4096


class Envelope:
    """Lows and highs of several curves; when it is full, pairs of stretches become one.

    Args:
        curves: how many.
    """

    def __init__(self, curves: int) -> None:
        self.length = 1
        self._pending: Values = np.zeros((0, curves), np.float32)
        self._lows: Values = self._pending
        self._highs: Values = self._pending

    def add(self, values: Values) -> None:
        """Take the next values, `[values, curves]`."""
        joined = np.concatenate([self._pending, values])
        whole = len(joined) // self.length
        stretches = joined[: whole * self.length].reshape(whole, self.length, joined.shape[1])
        self._pending = joined[whole * self.length :]
        self._lows = np.concatenate([self._lows, stretches.min(1)])
        self._highs = np.concatenate([self._highs, stretches.max(1)])
        while len(self._lows) > _STRETCHES:
            self._halve()

    def draw(self) -> tuple[Values, Values, Values]:
        """Return where the middle of each stretch lies, in values from the start, and lows and highs `[stretches, curves]`."""
        lows, highs = self._lows, self._highs
        if len(self._pending):
            lows = np.concatenate([lows, self._pending.min(0, keepdims=True)])
            highs = np.concatenate([highs, self._pending.max(0, keepdims=True)])
        at: Values = (np.arange(len(lows)) + 0.5) * self.length
        return at, lows, highs

    def _halve(self) -> None:
        if len(self._lows) % 2:
            # The last one waits, as its values would.
            self._pending = np.concatenate([self._lows[-1:].repeat(self.length, 0), self._pending])
            self._pending[: self.length // 2] = self._highs[-1]
            self._lows, self._highs = self._lows[:-1], self._highs[:-1]
        self._lows = self._lows.reshape(-1, 2, self._lows.shape[1]).min(1)
        self._highs = self._highs.reshape(-1, 2, self._highs.shape[1]).max(1)
        self.length *= 2
