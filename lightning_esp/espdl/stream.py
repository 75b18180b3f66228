"""The protocol of everything that steps a quantized model in integers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

IntegerArrays = dict[str, npt.NDArray[Any]]


@runtime_checkable
class IntegerStream(Protocol):
    """One model that is stepped window by window, for a batch of recordings.

    Arrays are int8, int16, or float32 where the file says so, in the layout of the file, with the batch of recordings
    as axis 0 (the file has 1 there). `inputs` and `outputs` are the graph's, by name; explicit caches are among
    them, and the caller feeds them back. `state` is what the model itself remembers between steps (ESP-DL's native
    StreamingCache); it is empty for a model without one. Neither argument is changed.
    """

    def initial_state(self, batch: int) -> dict[str, np.ndarray[Any, Any]]:
        """Return the state before the first window of `batch` recordings: zeros, as after `Model::reset()`."""

    def step(
        self, inputs: Mapping[str, np.ndarray[Any, Any]], state: Mapping[str, np.ndarray[Any, Any]]
    ) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, np.ndarray[Any, Any]]]:
        """Run one window.

        Args:
            inputs: Every graph input by name, shape (batch, ...) as in the file.
            state: What `initial_state` or the previous step returned.

        Returns:
            Every graph output by name, and the state for the next step.
        """
