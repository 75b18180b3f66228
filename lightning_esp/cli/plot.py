"""Scores over the waveform, as a PNG."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lightning_esp.cli.audition import Audition
from lightning_esp.errors import ConfigurationError


def draw_audition(heard: Audition, path: Path) -> None:
    """Draw the waveform, the score of every class over it, and the events.

    Args:
        heard: what to draw.
        path: the PNG.

    Raises:
        ConfigurationError: matplotlib is not installed, or the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigurationError("--plot needs matplotlib: `pip install 'lightning-esp[report]'`.") from None
    figure = Figure(figsize=(12, 5), layout="constrained")
    below, above = figure.subplots(2, sharex=True)
    times = np.arange(len(heard.samples)) / heard.sample_rate
    below.plot(times, heard.samples / 32768, color="0.4", linewidth=0.5)
    below.set_ylabel("waveform")
    frames = (np.arange(len(heard.scores)) + 1 + heard.delay) * heard.frame_period
    for label in range(heard.scores.shape[1]):
        # The number comes first: matplotlib leaves names that start with an underscore out of a legend.
        above.plot(frames, heard.scores[:, label], label=f"{label} {heard.name(label)}")
    for event in heard.events:
        for axes in (below, above):
            axes.axvline(heard.time(event), color="red", linewidth=1)
        above.annotate(
            heard.name(event.label), (heard.time(event), 1.0), xycoords=("data", "axes fraction"), color="red"
        )
    above.set_ylabel("score")
    above.set_xlabel("seconds")
    above.legend(loc="upper left", fontsize="small")
    try:
        figure.savefig(path, format="png")
    except OSError as error:
        raise ConfigurationError(f"--plot {path} cannot be written ({error.strerror}).") from None
