"""Thresholds that hold a rate of false accepts, from validation streams alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from lightning_esp.detection.detector import NEVER, DetectorSettings, Scores
from lightning_esp.detection.functional import Rate, false_accepts_per_hour
from lightning_esp.detection.keywords import Keyword, match_events
from lightning_esp.detection.whole_recordings import detect_events, detector_scores
from lightning_esp.errors import ConfigurationError, DataError

GRID = tuple(number / 200 for number in range(20, 200))


@dataclass(frozen=True)
class StreamScores:
    """One stream as the detector sees it: moving averages `[frames, classes]`, and what is said in it."""

    means: Scores
    keywords: tuple[Keyword, ...]


@dataclass(frozen=True)
class Choice:
    """Chosen thresholds and what they give on the streams that they were chosen on.

    Args:
        settings: the detector with its thresholds.
        false_accepts: of all classes together.
        false_rejects: share of the keywords missed, by label.
    """

    settings: DetectorSettings
    false_accepts: Rate
    false_rejects: dict[str, float]


def choose_thresholds(
    model: Callable[[Tensor], Tensor],
    streams: Iterable[tuple[Tensor, Sequence[Keyword]]],
    settings: DetectorSettings,
    labels: Sequence[str],
    frame_period: float,
    max_false_accepts_per_hour: float = 1.0,
    grace: float = 0.5,
) -> Choice:
    """Choose the lowest threshold of each class that holds the rate.

    Every class first gets an equal part of the rate; if all classes together break it, the part shrinks.

    Args:
        model: gives outputs `[classes, frames]` of a recording, in float or in integers.
        streams: validation recordings with their keywords. Never of the test split.
        settings: the detector; classes whose threshold is `NEVER` keep it.
        labels: names of the classes.
        frame_period: seconds of an output frame.
        max_false_accepts_per_hour: what all classes together may reach on the streams. Hours are few, so see the bound
            of the rate that comes back.
        grace: seconds behind the end of a keyword in which an event still counts.

    Returns:
        The detector, and its figures on these streams. A class that no threshold keeps quiet enough gets `NEVER`.

    Raises:
        ConfigurationError: the rate is negative.
        DataError: there are no streams.
    """
    if max_false_accepts_per_hour < 0:
        raise ConfigurationError(
            f"choose_thresholds(max_false_accepts_per_hour={max_false_accepts_per_hour}) must be 0 or more."
        )
    scored = [
        StreamScores(detector_scores(model(recording), settings), tuple(keywords)) for recording, keywords in streams
    ]
    hours = sum(len(stream.means) for stream in scored) * frame_period / 3600
    if not hours > 0:
        raise DataError("choose_thresholds got no streams; give recordings of the validation split.")
    active = [number for number, threshold in enumerate(settings.thresholds) if threshold != NEVER]
    expected = [labels[number] for number in active]
    alone = {n: _count_alone(scored, settings, labels[n], n, expected, frame_period, grace) for n in active}
    allowed = int(max_false_accepts_per_hour * hours)
    for part in range(allowed // max(1, len(active)), -2, -1):
        thresholds = [NEVER] * len(labels)
        for number in active:
            quiet = [threshold for threshold, count in alone[number] if count <= part]
            thresholds[number] = min(quiet, default=NEVER)
        chosen = replace(settings, thresholds=tuple(thresholds))
        accepts, missed = _judge(scored, chosen, labels, expected, frame_period, grace)
        if accepts <= allowed:
            break
    return Choice(chosen, false_accepts_per_hour(accepts, hours), missed)


def _count_alone(
    scored: Sequence[StreamScores],
    settings: DetectorSettings,
    label: str,
    number: int,
    expected: Sequence[str],
    period: float,
    grace: float,
) -> list[tuple[float, int]]:
    """False accepts of one class at each threshold, where it is the only one."""
    # What other classes score does not matter then, and detecting one class takes a fraction of the time.
    alone = [StreamScores(stream.means[:, [number]], stream.keywords) for stream in scored]
    counts = []
    for threshold in GRID:
        single = replace(settings, thresholds=(threshold,))
        accepts, _ = _judge(alone, single, [label], expected, period, grace)
        counts.append((threshold, accepts))
    return counts


def _judge(
    scored: Sequence[StreamScores],
    settings: DetectorSettings,
    labels: Sequence[str],
    expected: Sequence[str],
    period: float,
    grace: float,
) -> tuple[int, dict[str, float]]:
    """Return false accepts, and the share of keywords missed by label."""
    accepts, said, found = 0, dict[str, int](), dict[str, int]()
    for stream in scored:
        wanted = [keyword for keyword in stream.keywords if keyword.label in expected]
        matching = match_events(detect_events(settings, stream.means), wanted, labels, period, grace)
        accepts += len(matching.false_accepts)
        for number, keyword in enumerate(wanted):
            said[keyword.label] = said.get(keyword.label, 0) + 1
            found[keyword.label] = found.get(keyword.label, 0) + (number in matching.hits)
    return accepts, {label: float(np.round(1 - found[label] / count, 6)) for label, count in sorted(said.items())}
