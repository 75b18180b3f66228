"""Figures of several networks on the same recordings, plain, for a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lightning_esp.detection.detector import NEVER, DetectorSettings, Scores
from lightning_esp.detection.functional import DetCurve, det_area, detection_latency, false_accepts_per_hour, recall_at
from lightning_esp.detection.keywords import Keyword, match_events
from lightning_esp.detection.whole_recordings import detect_events, detector_scores

# The area under the curve goes up to this rate, whatever rate the thresholds hold.
AREA_RATE = 10.0

# The stretch that is drawn: its seconds, what lies before its first keyword, and points of a line.
EXCERPT_SECONDS, LEAD_SECONDS, EXCERPT_POINTS = 20.0, 1.0, 500


def evaluate_streams(
    outputs: Sequence[Tensor],
    keywords: Sequence[Sequence[Keyword]],
    settings: DetectorSettings,
    labels: Sequence[str],
    frame_period: float,
    rate: float = 1.0,
    expected: Collection[str] | None = None,
) -> dict[str, Any]:
    """Return what a detector makes of one network's outputs.

    Args:
        outputs: `[classes, frames]` for each recording.
        keywords: what is said in each.
        settings: the detector.
        labels: names of the classes.
        frame_period: seconds of an output frame.
        rate: false accepts per hour at which the recall is given.
        expected: labels whose keywords are to be found; None: those whose class has a threshold.

    Returns:
        `false_accepts` (count, hours, per_hour, bound: the one-sided 95 % Poisson bound per hour), `keywords`, `missed`,
        `confused` (events that took one keyword for another), `false_rejects` (a share; None without keywords),
        `missed_by_label`, `missed_by_group` (by kind and name of `Keyword.groups`), `latency` (mean, median and p95 in
        seconds), `det` (thresholds, false_accepts per hour, false_rejects; None without keywords), `det_area` (from 0 to 10
        false accepts per hour) and `recall` at `rate`.

    Example:
        >>> import torch
        >>> settings = DetectorSettings((NEVER, 0.5), activation="none")
        >>> scores = torch.zeros(2, 36000)
        >>> scores[1, [110, 9000]] = 0.9
        >>> found = evaluate_streams([scores], [[Keyword(0.7, 1.0, "yes")]], settings, ["_other_", "yes"], 0.01)
        >>> found["false_accepts"]["count"], found["false_rejects"]
        (1, 0.0)
    """
    # torchmetrics takes a second to import, and the command line does without it.
    from lightning_esp.detection.metrics import KeywordDetection

    expected = active_labels(settings, labels) if expected is None else expected
    everyone = tuple(0.5 if label in expected else NEVER for label in labels)
    metric = KeywordDetection(replace(settings, thresholds=everyone), labels, frame_period, rate=rate)
    latencies, found, said, accepts, confused = list[float](), list[Keyword](), list[Keyword](), 0, 0
    for output, spoken in zip(outputs, keywords, strict=True):
        metric.update(output, spoken)
        wanted = [keyword for keyword in spoken if keyword.label in expected]
        events = detect_events(settings, detector_scores(output, settings))
        matching = match_events(events, wanted, labels, frame_period)
        latencies += matching.latencies
        accepts += len(matching.false_accepts)
        confused += len(matching.confusions)
        said += wanted
        found += [wanted[number] for number in matching.hits]
    return {
        "false_accepts": _tell_rate(accepts, metric.false_accepts().hours),
        "confused": confused,
        "latency": {name: round(value, 4) for name, value in detection_latency(latencies).items()},
        **_tell_misses(said, found),
        **_tell_curve(metric.curve() if said else None, rate),
    }


def _tell_misses(said: Sequence[Keyword], found: Sequence[Keyword]) -> dict[str, Any]:
    total, hits = len(said), len(found)
    return {
        "keywords": total,
        "missed": total - hits,
        "false_rejects": round(1 - hits / total, 6) if total else None,
        "missed_by_label": _count_missed([k.label for k in said], [k.label for k in found]),
        "missed_by_group": _count_groups(said, found),
    }


def _count_missed(said: Sequence[str], found: Sequence[str]) -> dict[str, list[int]]:
    """Misses and keywords of each name."""
    hits = Counter(found)
    return {name: [count - hits[name], count] for name, count in sorted(Counter(said).items())}


def _count_groups(said: Sequence[Keyword], found: Sequence[Keyword]) -> dict[str, dict[str, list[int]]]:
    kinds = sorted({kind for keyword in said for kind in keyword.groups})
    both = {kind: [[k.groups[kind] for k in each if kind in k.groups] for each in (said, found)] for kind in kinds}
    return {kind: _count_missed(*names) for kind, names in both.items()}


def _tell_rate(count: int, hours: float) -> dict[str, float]:
    rate = false_accepts_per_hour(count, hours)
    figures = {"hours": round(hours, 5), "per_hour": round(rate.per_hour, 4), "bound": round(rate.bound, 4)}
    return {"count": count, **figures}


def _tell_curve(curve: DetCurve | None, rate: float) -> dict[str, Any]:
    if curve is None:
        return dict.fromkeys(("det", "det_area", "recall"))
    det = {
        "thresholds": [round(threshold, 4) for threshold in curve.thresholds.tolist()],
        "false_accepts": [round(value, 4) for value in curve.false_accepts.tolist()],
        "false_rejects": [round(value, 6) for value in curve.false_rejects.tolist()],
    }
    return {"det": det, "det_area": round(det_area(curve, AREA_RATE), 6), "recall": round(recall_at(curve, rate), 6)}


def active_labels(settings: DetectorSettings, labels: Sequence[str]) -> set[str]:
    """Return the labels that can fire."""
    pairs = zip(labels, settings.thresholds, strict=True)
    return {label for label, threshold in pairs if threshold != NEVER}


def snippet(
    outputs: Mapping[str, Sequence[Tensor]],
    keywords: Sequence[Sequence[Keyword]],
    settings: DetectorSettings,
    labels: Sequence[str],
    frame_period: float,
) -> dict[str, Any]:
    """Return a stretch to look at: some seconds from the first keyword on, or from the start where there is none.

    Args:
        outputs: by name of the network, `[classes, frames]` for each recording.
        keywords: as for `evaluate_streams`.
        settings: as for `evaluate_streams`.
        labels: as for `evaluate_streams`.
        frame_period: as for `evaluate_streams`.

    Returns:
        `stream` (which recording), `start` and `seconds`, `keywords` (start, end, label), `thresholds` (None: never), and
        by network `scores` (`[classes][points]`, as the detector compares them) and `events` (time, label). All times
        are seconds from the start of the stretch.
    """
    said = [[keyword for keyword in spoken if keyword.label in labels] for spoken in keywords]
    stream = next((index for index, spoken in enumerate(said) if spoken), 0)
    length = next(iter(outputs.values()))[stream].shape[1]
    count = min(length, round(EXCERPT_SECONDS / frame_period))
    wanted = said[stream][0].start - LEAD_SECONDS if said[stream] else 0.0
    first = max(0, min(round(wanted / frame_period), length - count))
    start, end = first * frame_period, (first + count) * frame_period
    means = {name: detector_scores(values[stream], settings) for name, values in outputs.items()}
    return {
        "stream": stream,
        "start": round(start, 4),
        "seconds": round(end - start, 4),
        "keywords": [
            [round(max(k.start, start) - start, 4), round(min(k.end, end) - start, 4), k.label]
            for k in said[stream]
            if k.end > start and k.start < end
        ],
        "thresholds": [None if threshold == NEVER else threshold for threshold in settings.thresholds],
        "scores": {name: _points(values[first : first + count]) for name, values in means.items()},
        "events": {
            name: list(_events(values, settings, labels, frame_period, start, end)) for name, values in means.items()
        },
    }


def _events(
    means: Scores, settings: DetectorSettings, labels: Sequence[str], period: float, start: float, end: float
) -> Iterator[list[Any]]:
    """Over the whole recording, since a detector that starts in its middle would find others."""
    for event in detect_events(settings, means):
        time = (event.frame + 1) * period
        if start <= time <= end:
            yield [round(time - start, 4), labels[event.label]]


def _points(means: NDArray[np.float32]) -> list[list[float]]:
    """The highest score of each of at most so many points, by class."""
    size = -(-len(means) // EXCERPT_POINTS)
    peaks = [means[begin : begin + size].max(0) for begin in range(0, len(means), size)]
    return [[round(float(value), 3) for value in row] for row in np.array(peaks).T]
