"""`Work`: what operators do, in units that no chip has a say in.

The S3 and the P4 multiply 16 channels at once, so channels count as the next multiple of 16: a convolution from 22 to 33
channels does the work of one from 32 to 48.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

LANES = 16


@dataclass(frozen=True)
class Work:
    """The work of one operator, or the sum over several.

    Args:
        calls: operators.
        dense: multiplications of ordinary convolutions and matrices, channels rounded up to `LANES`.
        depthwise: multiplications of depthwise convolutions and pools, channels rounded up likewise.
        written: bytes written, each computed by itself; of what is copied in rows, 16 bytes count as one.
    """

    calls: int = 0
    dense: int = 0
    depthwise: int = 0
    written: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(
            self.calls + other.calls,
            self.dense + other.dense,
            self.depthwise + other.depthwise,
            self.written + other.written,
        )


def round_up(channels: int) -> int:
    """The channels that the chip computes for `channels`."""
    return -(-channels // LANES) * LANES


def convolution(
    inputs: int, outputs: int, kernel: Sequence[int], positions: int, *, depthwise: bool = False, width: int = 1
) -> Work:
    """The work of a convolution, or of a matrix with an empty kernel.

    Args:
        inputs: channels in.
        outputs: channels out.
        kernel: size of the kernel.
        positions: outputs per channel.
        depthwise: each channel has a kernel of its own.
        width: bytes of an element; int16 takes two lanes.

    Example:
        >>> convolution(22, 33, (3, 3), positions=19 * 23)
        Work(calls=1, dense=6041088, depthwise=0, written=14421)
    """
    written = positions * outputs * width
    taps = positions * prod(kernel) * round_up(outputs) * width
    if depthwise:
        return Work(1, 0, taps, written)
    return Work(1, taps * round_up(inputs), 0, written)


def copy(moved: int) -> Work:
    """The work of moving bytes in whole rows, 16 at once."""
    return Work(1, written=moved // LANES)


def pool(channels: int, positions: int, taps: int, written: int) -> Work:
    """The work of a pool.

    Args:
        channels: channels in and out.
        positions: outputs per channel.
        taps: values that each output is made of.
        written: bytes of the output.
    """
    return Work(1, 0, positions * round_up(channels) * taps, written)


def recurrent(frames: int, rows: int, widths: Sequence[int], written: int) -> Work:
    """The work of a GRU or LSTM.

    Args:
        frames: steps.
        rows: rows of each of its matrices: directions times gates times hidden values.
        widths: columns of its matrices: what comes in, and the hidden values.
        written: bytes of the output.
    """
    return Work(1, frames * rows * sum(map(round_up, widths)), 0, written)
