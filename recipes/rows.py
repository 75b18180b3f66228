"""Recordings in a row, of which random stretches are drawn, and the recording that each sample is from."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import torch
from clips import SAMPLE_RATE, load
from listings import Clip
from torch import Tensor


@dataclass(frozen=True)
class Row:
    """Recordings one behind the other.

    Args:
        samples: of all, 16 bits, `[samples]`.
        paths: of the recordings.
        ends: one behind the last sample of each; the row may go on with the first recording again.
    """

    samples: Tensor
    paths: tuple[Path, ...]
    ends: tuple[int, ...]

    def find(self, sample: int) -> tuple[Path, float]:
        """Find the recording that a sample is from, and its second in it.

        Args:
            sample: its position in the row.
        """
        sample %= self.ends[-1]
        number = bisect_right(self.ends, sample)
        return self.paths[number], (sample - (self.ends[number - 1] if number else 0)) / SAMPLE_RATE


def read_row(clips: Sequence[Clip], longer_than: int) -> Row:
    """Read the training recordings of a list; few of them come several times, so that the row is longer than a scene."""
    paths = tuple(clip.path for clip in clips if clip.split == "train")
    parts = [load(path) for path in paths]
    row = torch.cat(parts)
    repeated = row if len(row) > longer_than else row.repeat(1 + longer_than // len(row))
    return Row(repeated, paths, tuple(accumulate(map(len, parts))))
