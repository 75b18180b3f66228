"""StreamingCache: the frames of earlier windows in front of the new ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lightning_esp.espdl.espdl_model import Array
from lightning_esp.espdl.kernels.node import Node, positive_axis


@dataclass(frozen=True)
class StreamingCache:
    """A native cache.

    Attributes:
        key: Its name in the interpreter's state.
        axis: The frame axis of the batched array.
        shape: Shape of the remembered frames in the file's layout.
        dtype: Their type.
    """

    key: str
    axis: int
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]

    def extend(self, frames: Array, cache: Array) -> tuple[Array, Array]:
        """Put the remembered frames in front of the new ones.

        Args:
            frames: New frames, (batch, *file shape).
            cache: Remembered frames, (batch, *shape).

        Returns:
            The extended frames, and what to remember for the next window: its last frames.
        """
        joined = np.concatenate((cache, frames), axis=self.axis)
        rest = joined.shape[self.axis] - cache.shape[self.axis]
        return joined, np.take(joined, np.arange(rest, joined.shape[self.axis]), axis=self.axis)


def make_cache(node: Node) -> StreamingCache:
    """Read a StreamingCache operator.

    Raises:
        EspdlOperatorError: An axis before the frame axis is longer than 1, so that ESP-DL's flat copies mix frames.
    """
    source = node.input(0)
    axis = positive_axis(int(node.attribute("frame_axis", 1)), len(source.shape))
    frames = int(node.attribute("window_size", 1)) - 1
    if axis > len(source.shape) or any(size != 1 for size in source.shape[: axis - 1]):
        raise node.refuse(
            f"its frame axis {axis - 1} of shape {source.shape} stands behind an axis longer than 1; ESP-DL copies flat "
            "memory and would mix frames"
        )
    if frames < 1:
        raise node.refuse(f"its window_size {frames + 1} is less than 2: ESP-DL asserts on a cache without frames")
    shape = (*source.shape[: axis - 1], frames, *source.shape[axis:])
    return StreamingCache(node.operator.name or node.operator.outputs[0], axis, shape, source.dtype)
