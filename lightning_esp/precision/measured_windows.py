"""The windows that an analysis is measured on: the first of some recordings, all recordings in step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lightning_esp.conversion import Recordings, StreamingModel, Values, check_recordings, slice_windows
from lightning_esp.quantization import Array


def take_recordings(model: StreamingModel, recordings: Recordings, count: int) -> list[tuple[Values, int]]:
    """Take at most `count` recordings, evenly spread.

    Raises:
        DataError: the recordings do not fit the model.
    """
    step = max(1, len(recordings) // count)
    return check_recordings(model.spec, list(recordings[::step])[:count])


def first_windows(model: StreamingModel, taken: Sequence[tuple[Values, int]], most: int) -> list[dict[str, Array]]:
    """The first windows of recordings; those that are much shorter than the longest are left out.

    Returns:
        The inputs of each window by name, one row per recording; the first window holds the initial caches too.
    """
    spec = model.spec
    rows = [slice_windows(spec, values)[:most] for values, _ in taken]
    longest = max(len(row) for row in rows)
    rows = [row for row in rows if 2 * len(row) >= longest]
    count = min(len(row) for row in rows)
    windows = [
        {port.name: np.concatenate([row[i][port.name].numpy() for row in rows]) for port in spec.inputs}
        for i in range(count)
    ]
    windows[0] |= {name: value.numpy() for name, value in model.initial_caches(len(rows)).items()}
    return windows
