"""Waveform or readings, scores and events over time, as a PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lightning_esp.cli.arguments import cannot_write
from lightning_esp.cli.envelope import Envelope
from lightning_esp.cli.stream_simulation import SimulatedPiece, StreamSimulation
from lightning_esp.detection import Event
from lightning_esp.errors import ConfigurationError

# As many as a legend of colours that can be told apart.
_MOST_CURVES = 8
_LONG_SECONDS = 120


class Plot:
    """Gathers scores and events, in constant memory, and draws it at the end.

    Args:
        simulation: the bundle that runs.

    Raises:
        ConfigurationError: matplotlib is not installed.
    """

    def __init__(self, simulation: StreamSimulation) -> None:
        try:
            from matplotlib.figure import Figure
        except ImportError:
            raise ConfigurationError("--plot needs matplotlib: `pip install 'lightning-esp[report]'`.") from None
        self._audition = simulation
        self._figure = Figure(figsize=(12, 6.5), layout="constrained")
        self._waveform, self._scores = Envelope(simulation.columns), Envelope(simulation.classes)
        self._events: list[Event] = []

    def add(self, piece: SimulatedPiece) -> None:
        """Take the next piece."""
        self._waveform.add(piece.trace)
        self._scores.add(piece.scores)
        self._events += piece.events

    def write(self, path: Path) -> None:
        """Draw, and write the file.

        Raises:
            ConfigurationError: it cannot be written.
        """
        fired = sorted({event.label for event in self._events})
        waveform, scores, events = self._figure.subplots(
            3, sharex=True, height_ratios=[2, 3, 0.6 + 0.25 * max(1, len(fired))]
        )
        at, lows, highs = self._waveform.draw()
        at = at / self._audition.sample_rate
        for column in range(self._audition.columns):
            color = "0.4" if self._audition.listens else f"C{column}"
            waveform.fill_between(at, lows[:, column], highs[:, column], color=color, linewidth=0.5)
        waveform.set_ylabel("waveform" if self._audition.listens else "readings")
        self._draw_scores(scores)
        self._draw_events(events, fired)
        self._label_time(events, float(at[-1]))
        try:
            self._figure.savefig(path, format="png")
        except OSError as error:
            raise cannot_write("--plot", path, error) from None

    def _draw_scores(self, axes: Any) -> None:
        at, lows, highs = self._scores.draw()
        at = (at + 0.5 + self._audition.delay) * self._audition.frame_period
        highest = np.argsort(-highs.max(0), kind="stable")[:_MOST_CURVES]
        for place, label in enumerate(sorted(int(label) for label in highest)):
            # The number comes first: matplotlib leaves names that start with an underscore out of a legend.
            name = f"{label} {self._audition.name(label)}"
            axes.fill_between(at, lows[:, label], highs[:, label], color=f"C{place}", alpha=0.35, linewidth=0)
            axes.plot(at, highs[:, label], color=f"C{place}", linewidth=1, label=name)
        axes.set_ylabel("score")
        left_out = self._audition.classes - len(highest)
        title = f"{left_out} lower ones\nare not drawn" if left_out > 0 else None
        # Beside the curves, where it hides none of them.
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize="small", title=title)

    def _draw_events(self, axes: Any, fired: list[int]) -> None:
        """A row for each class that fired, so that no names lie over each other."""
        for row, label in enumerate(fired):
            times = [self._audition.time(event) for event in self._events if event.label == label]
            axes.plot(times, [row] * len(times), "|", color="tab:red", markersize=10)
        names = [f"{self._audition.name(label)} ({sum(e.label == label for e in self._events)})" for label in fired]
        axes.set_yticks(range(len(fired)), names)
        axes.set_ylim(len(fired) - 0.5 if fired else 0.5, -0.5)
        axes.set_ylabel("events")
        axes.grid(axis="y", alpha=0.3)

    def _label_time(self, axes: Any, seconds: float) -> None:
        axes.set_xlim(0, max(seconds, self._audition.frame_period))
        if seconds < _LONG_SECONDS or self._audition.unit != "s":
            axes.set_xlabel("seconds" if self._audition.unit == "s" else "frames")
            return
        from matplotlib.ticker import FuncFormatter, MaxNLocator

        locator = MaxNLocator(nbins=12, steps=[1, 1.5, 2, 3, 6, 10])
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: f"{int(at) // 60}:{int(at) % 60:02d}"))
        axes.set_xlabel("minutes:seconds")
