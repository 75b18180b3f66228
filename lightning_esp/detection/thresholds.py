"""Thresholds chosen by misses and false accepts together, from validation streams alone."""

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

# Where the streams cannot tell the rate, a false accept counts as much as missing this share of the keywords of its class.
SHARE_PER_ACCEPT = 0.1

Streams = Iterable[tuple[Tensor, Sequence[Keyword]]]


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
        balanced: the streams are too short to tell whether the rate holds, so that a false accept counts as much as a tenth of
            the keywords of its class.
    """

    settings: DetectorSettings
    false_accepts: Rate
    false_rejects: dict[str, float]
    balanced: bool = False


@dataclass(frozen=True)
class OperatingPoint:
    """Figures of one class at one threshold, where no other class fires.

    Args:
        threshold: of the mean score.
        accepts: false accepts.
        errors: keywords missed, and other keywords taken for it.
    """

    threshold: float
    accepts: int
    errors: int


def choose_thresholds(
    model: Callable[[Tensor], Tensor],
    streams: Streams,
    settings: DetectorSettings,
    labels: Sequence[str],
    frame_period: float,
    max_false_accepts_per_hour: float = 1.0,
    grace: float = 0.5,
) -> Choice:
    """Choose the thresholds that miss least at the allowed rate of false accepts.

    The rate is shared among the classes so that all together miss fewest keywords and confuse fewest. Where the streams are
    so short that the rate allows less than one event in them, none would say little and cost much: then a false accept counts
    as much as a tenth of the keywords of its class that are missed or confused. Of thresholds that do as well, the middle
    one is taken, far from both errors.

    Args:
        model: gives outputs `[classes, frames]` of a recording, in float or in integers.
        streams: validation recordings with their keywords. Never of the test split.
        settings: the detector; classes whose threshold is `NEVER` keep it.
        labels: names of the classes.
        frame_period: seconds of an output frame.
        max_false_accepts_per_hour: what all classes together may reach on the streams. Hours are few, so see the bound
            of the rate that comes back. 0: none at any price.
        grace: seconds behind the end of a keyword in which an event still counts.

    Returns:
        The detector, and its figures on these streams.

    Raises:
        ConfigurationError: the rate is negative.
        DataError: there are no streams, or no thresholds hold the rate.
    """
    if max_false_accepts_per_hour < 0:
        raise ConfigurationError(
            f"choose_thresholds(max_false_accepts_per_hour={max_false_accepts_per_hour}) must be 0 or more."
        )
    judge = _Judge(model, streams, settings, labels, frame_period, grace)
    expected = max_false_accepts_per_hour * judge.hours
    if 0 < expected < 1:
        return judge.tell(judge.balance(), balanced=True)
    return judge.tell(judge.hold(int(expected), max_false_accepts_per_hour))


def balance_thresholds(
    model: Callable[[Tensor], Tensor],
    streams: Streams,
    settings: DetectorSettings,
    labels: Sequence[str],
    frame_period: float,
    grace: float = 0.5,
) -> Choice:
    """Choose the thresholds that balance misses and false accepts, whatever the rate of these.

    Args and errors are those of `choose_thresholds`.
    """
    judge = _Judge(model, streams, settings, labels, frame_period, grace)
    return judge.tell(judge.balance(), balanced=True)


class _Judge:
    """The streams as the detector sees them, and every class at every threshold."""

    def __init__(
        self,
        model: Callable[[Tensor], Tensor],
        streams: Streams,
        settings: DetectorSettings,
        labels: Sequence[str],
        period: float,
        grace: float,
    ) -> None:
        self._scored = [StreamScores(detector_scores(model(each), settings), tuple(said)) for each, said in streams]
        self.hours = sum(len(stream.means) for stream in self._scored) * period / 3600
        if not self.hours > 0:
            raise DataError("choose_thresholds got no streams; give recordings of the validation split.")
        self._settings, self._labels, self._period, self._grace = settings, labels, period, grace
        self._active = [number for number, threshold in enumerate(settings.thresholds) if threshold != NEVER]
        self._expected = [labels[number] for number in self._active]
        self._curves = {number: self._measure(number) for number in self._active}

    def balance(self) -> DetectorSettings:
        """Return the detector whose classes do best, a false accept for a tenth of the keywords of each."""
        return self._set({number: self._balance(number, curve) for number, curve in self._curves.items()})

    def _balance(self, number: int, curve: Sequence[OperatingPoint]) -> float:
        price = max(1.0, SHARE_PER_ACCEPT * self._said(self._labels[number]))
        costs = [price * point.accepts + point.errors for point in curve]
        return _middle([point for point, cost in zip(curve, costs, strict=True) if cost == min(costs)])

    def _said(self, label: str) -> int:
        return sum(keyword.label == label for stream in self._scored for keyword in stream.keywords)

    def hold(self, allowed: int, rate: float) -> DetectorSettings:
        """Return the detector that misses fewest keywords with so many false accepts at most.

        Raises:
            DataError: no threshold of a class is quiet enough.
        """
        self._check_quiet(allowed, rate)
        # Beside others a class may fire where it would not alone, so that less than all may have to be shared.
        for shared in range(allowed, -1, -1):
            points = share_accepts(self._curves, shared)
            settings = self._set(points) if points else None
            if settings is not None and self._count(settings)[0] <= allowed:
                return settings
        return self._quieten(allowed)

    def tell(self, settings: DetectorSettings, balanced: bool = False) -> Choice:
        """Return the detector with its figures on the streams."""
        accepts, missed, _ = self._count(settings)
        shares = {label: float(np.round(count / self._said(label), 6)) for label, count in sorted(missed.items())}
        return Choice(settings, false_accepts_per_hour(accepts, self.hours), shares, balanced)

    def _check_quiet(self, allowed: int, rate: float) -> None:
        least = {self._labels[number]: min(p.accepts for p in curve) for number, curve in self._curves.items()}
        if sum(least.values()) <= allowed:
            return
        loud = ", ".join(f"{label!r} {count}" for label, count in least.items() if count)
        raise DataError(
            f"no thresholds hold {rate:g} false accepts an hour on {self.hours:.3g} h of validation streams: at {GRID[-1]}, the "
            f"highest, there still are {loud}. Train longer or with more speech and noise that is no keyword, allow more by "
            "Detector(max_false_accepts_per_hour=...), or set Detector(threshold=...) by hand."
        )

    def _quieten(self, allowed: int) -> DetectorSettings:
        """Raise all thresholds together until so few are left, or they are at their highest."""
        points = {number: _middle(_quietest(curve)) for number, curve in self._curves.items()}
        for step in GRID:
            settings = self._set({number: max(threshold, step) for number, threshold in points.items()})
            if self._count(settings)[0] <= allowed:
                break
        return settings

    def _set(self, thresholds: dict[int, float]) -> DetectorSettings:
        found = tuple(thresholds.get(number, NEVER) for number in range(len(self._labels)))
        return replace(self._settings, thresholds=found)

    def _measure(self, number: int) -> list[OperatingPoint]:
        # What other classes score does not matter then, and detecting one class takes a fraction of the time.
        alone = [StreamScores(stream.means[:, [number]], stream.keywords) for stream in self._scored]
        label, points = self._labels[number], list[OperatingPoint]()
        for threshold in GRID:
            single = replace(self._settings, thresholds=(threshold,))
            accepts, missed, confused = self._count(single, alone, [label])
            points.append(OperatingPoint(threshold, accepts, missed.get(label, 0) + confused))
        return points

    def _count(
        self,
        settings: DetectorSettings,
        scored: Sequence[StreamScores] | None = None,
        labels: Sequence[str] | None = None,
    ) -> tuple[int, dict[str, int], int]:
        """Return false accepts, the keywords missed of each label that is said, and keywords taken for others."""
        accepts, confused, missed = 0, 0, dict[str, int]()
        for stream in self._scored if scored is None else scored:
            wanted = [keyword for keyword in stream.keywords if keyword.label in self._expected]
            events = detect_events(settings, stream.means)
            matching = match_events(events, wanted, labels or self._labels, self._period, self._grace)
            accepts, confused = accepts + len(matching.false_accepts), confused + len(matching.confusions)
            for number, keyword in enumerate(wanted):
                missed[keyword.label] = missed.get(keyword.label, 0) + (number not in matching.hits)
        return accepts, missed, confused


def share_accepts(curves: dict[int, list[OperatingPoint]], allowed: int) -> dict[int, float] | None:
    """Share false accepts among classes so that all together make fewest errors.

    Args:
        curves: the operating points of each class.
        allowed: false accepts of all classes together, each counted alone.

    Returns:
        A threshold for each class; None where no thresholds are quiet enough.

    Example:
        >>> loud = [OperatingPoint(0.2, 1, 0), OperatingPoint(0.6, 0, 4)]
        >>> share_accepts({1: loud, 2: [OperatingPoint(0.3, 1, 0), OperatingPoint(0.7, 0, 1)]}, 1)
        {1: 0.2, 2: 0.7}
    """
    # For each number of false accepts used so far, the fewest errors and the thresholds that make them.
    best: dict[int, tuple[int, dict[int, float]]] = {0: (0, {})}
    for number, curve in curves.items():
        grown: dict[int, tuple[int, dict[int, float]]] = {}
        for point in _frontier(curve):
            for used, (errors, chosen) in best.items():
                total = used + point.accepts
                if total <= allowed and (total not in grown or errors + point.errors < grown[total][0]):
                    grown[total] = errors + point.errors, {**chosen, number: point.threshold}
        best = grown
    return min(best.items(), key=lambda item: (item[1][0], item[0]))[1][1] if best else None


def _frontier(curve: Sequence[OperatingPoint]) -> list[OperatingPoint]:
    """The points that no other betters in both; of thresholds that do the same, the middle one."""
    kept, fewest = list[OperatingPoint](), None
    for accepts in sorted({point.accepts for point in curve}):
        same = [point for point in curve if point.accepts == accepts]
        errors = min(point.errors for point in same)
        if fewest is None or errors < fewest:
            fewest = errors
            kept.append(OperatingPoint(_middle([p for p in same if p.errors == errors]), accepts, errors))
    return kept


def _quietest(curve: Sequence[OperatingPoint]) -> list[OperatingPoint]:
    least = min(point.accepts for point in curve)
    return [point for point in curve if point.accepts == least]


def _middle(points: Sequence[OperatingPoint]) -> float:
    return points[len(points) // 2].threshold
