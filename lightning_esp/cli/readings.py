"""Readings of a sensor from a file, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_esp.errors import DataError

Readings = NDArray[np.float32]

SUFFIXES = (".csv", ".npy")
_BLOCK = 4096


def open_readings(path: Path, channels: int) -> tuple[int, Iterator[Readings]]:
    """Return how many frames a recording has, and its readings in pieces `[frames, channels]`, float32.

    Args:
        path: one of `SUFFIXES`: a CSV file with a column for each channel, perhaps below a line of names, or a NumPy file `[frames, channels]`.
        channels: how many there must be.

    Raises:
        DataError: it cannot be read, has other columns, or holds what is no finite number; the pieces raise it too.
    """
    try:
        if path.suffix.lower() == ".npy":
            values = np.load(path, mmap_mode="r", allow_pickle=False)
            _check_columns(path, values.shape, channels)
            return len(values), _pieces(path, values)
        with path.open(encoding="utf-8") as file:
            frames = sum(1 for line in file if line.strip())
        return frames, _rows(path, channels)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); give a CSV or NumPy file of numbers.") from None


def _pieces(path: Path, values: NDArray[np.generic]) -> Iterator[Readings]:
    for start in range(0, len(values), _BLOCK):
        try:
            block = np.asarray(values[start : start + _BLOCK], np.float32)
        except (TypeError, ValueError) as error:
            raise DataError(f"{path} holds no real numbers ({error}); save float32 [frames, channels].") from None
        yield _checked(path, block, start)


def _rows(path: Path, channels: int) -> Iterator[Readings]:
    with path.open(encoding="utf-8") as file:
        lines = (line for line in file if line.strip())
        start = 0
        while taken := list(islice(lines, _BLOCK)):
            if start == 0 and not _is_numeric(taken[0]):
                taken = taken[1:]
            if not taken:
                return
            try:
                block = np.loadtxt(taken, dtype=np.float32, delimiter=",", ndmin=2)
            except ValueError as error:
                raise DataError(
                    f"{path} holds no numbers in columns ({error}); write one line of names, then readings."
                ) from None
            _check_columns(path, block.shape, channels)
            yield _checked(path, block, start)
            start += len(block)


def _is_numeric(line: str) -> bool:
    try:
        [float(cell) for cell in line.split(",")]
    except ValueError:
        return False
    return True


def _check_columns(path: Path, shape: tuple[int, ...], channels: int) -> None:
    if len(shape) != 2 or shape[1] != channels:
        raise DataError(
            f"{path} has shape {list(shape)}, frames first; the model takes {channels} readings a frame, so give {channels} columns."
        )


def _checked(path: Path, block: Readings, start: int) -> Readings:
    bad = np.argwhere(~np.isfinite(block))
    if len(bad):
        frame, channel = (int(index) for index in bad[0])
        raise DataError(
            f"{path} holds {block[frame, channel]} in frame {start + frame}, channel {channel}; fill the gap, or cut it out."
        )
    return block
