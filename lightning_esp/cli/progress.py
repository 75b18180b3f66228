"""A bar on the terminal while a recording is simulated."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

# What takes a second or two needs no bar.
_SHORT_SECONDS = 60


class Progress:
    """Progress through a recording.

    Args:
        bar: tqdm's; it may be switched off.
    """

    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def advance(self, samples: int) -> None:
        """Count samples."""
        self._bar.update(samples)

    def say(self, line: str) -> None:
        """Print a line on standard output without tearing the bar."""
        if self._bar.disable:
            print(line)
        else:
            self._bar.write(line, file=sys.stdout)


@contextmanager
def show_progress(samples: int, sample_rate: float) -> Iterator[Progress]:
    """Show a bar on stderr, if that is a terminal and the recording is long.

    Args:
        samples: how many are expected.
        sample_rate: samples a second.
    """
    hidden = samples < _SHORT_SECONDS * sample_rate or sys.stderr is None or not sys.stderr.isatty()
    minutes = samples / sample_rate / 60
    with tqdm(
        total=samples,
        desc=f"{minutes:.0f} min",
        disable=hidden,
        file=sys.stderr,
        dynamic_ncols=True,
        bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}",
    ) as bar:
        yield Progress(bar)
