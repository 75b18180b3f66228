"""Raw readings of a sensor against the integers that the network was proved with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lightning_esp.quantization import TensorInfo, quantize_values
from lightning_esp.verification.proof import Array, Proof

_NEXT_STEP = "Report the model: its readings are not normalised as in the training."


def gives_integers(
    readings: Array, moments: tuple[Sequence[float], Sequence[float]], tensor: TensorInfo, inputs: Array, target: str
) -> Proof:
    """Hold what the firmware makes of readings against the golden input of the network.

    Args:
        readings: of the first golden windows, float32, `[windows, frames, channels]`.
        moments: mean and factor of each channel.
        tensor: the network's input.
        inputs: its golden integers, `[windows, *shape without batch]`, as many or more.
        target: the chip, which decides how halves are rounded.

    Returns:
        The integers that differ, of which there may be none.
    """
    mean, factor = (np.asarray(values, np.float32) for values in moments)
    normalized = (readings.astype(np.float32) - mean) * factor
    found = quantize_values(to_windows(normalized, tensor), tensor, target)
    wrong = (found != inputs[: len(found)]).reshape(len(found), -1).any(1)
    differing = int((found != inputs[: len(found)]).sum())
    where = f"window {int(wrong.argmax())} of tensor {tensor.name!r}" if differing else ""
    name = "raw readings give the network's integers, value for value"
    return Proof(name, differing, 0, not differing, where, _NEXT_STEP)


def to_windows(frames: Array, tensor: TensorInfo) -> Array:
    """Arrange `[windows, frames, channels]` as windows of an input in torch's layout, `[windows, ...]`."""
    sizes = dict(zip(tensor.layout, tensor.shape, strict=True))
    assert tensor.time_axis is not None
    axis = tensor.layout[tensor.time_axis]
    rest = [sizes[place] for place in range(1, len(sizes)) if place != axis]
    return np.moveaxis(frames.reshape(*frames.shape[:2], *rest), 1, axis)


def to_frames(recording: Array, axis: int) -> Array:
    """Arrange a recording without batch dimension as `[frames, channels]`.

    Args:
        recording: in torch's layout.
        axis: of time.
    """
    turned = np.moveaxis(recording, axis, 0)
    return turned.reshape(len(turned), -1)
