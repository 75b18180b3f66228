"""Figures of a device that listens all day, as functions of counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from lightning_esp.errors import ConfigurationError
from lightning_esp.options import check_arguments


@dataclass(frozen=True)
class Rate:
    """Events per hour, as measured.

    Args:
        count: events.
        hours: length of what was listened to.
        bound: one-sided upper bound of the true rate per hour, as a Poisson process.
        confidence: of the bound.
    """

    count: int
    hours: float
    bound: float
    confidence: float = 0.95

    @property
    def per_hour(self) -> float:
        """Events per hour."""
        return self.count / self.hours

    def __str__(self) -> str:
        share = f"{100 * self.confidence:.0f} %"
        return f"{self.per_hour:.2f} per hour ({self.count} in {self.hours:.2f} h; {share} bound {self.bound:.2f})"


def poisson_bound(count: int, confidence: float = 0.95) -> float:
    """Return the mean of the Poisson distribution that gives `count` or fewer with probability `1 - confidence`.

    Args:
        count: events seen.
        confidence: one-sided, between 0 and 1.

    Raises:
        ConfigurationError: the count is negative, or the confidence not between 0 and 1.

    Example:
        >>> round(poisson_bound(0), 3)  # the rule of three
        2.996
    """
    if count < 0 or not 0 < confidence < 1:
        raise ConfigurationError(
            f"poisson_bound(count={count}, confidence={confidence}): the count is 0 or more, the confidence between 0 and 1."
        )
    # P(N <= count) of a Poisson distribution is the regularised upper incomplete gamma function; it falls with the mean.
    low, high = 0.0, 10.0 + 3.0 * count
    order = torch.tensor(count + 1.0, dtype=torch.float64)
    for _ in range(80):
        middle = (low + high) / 2
        if float(torch.special.gammaincc(order, torch.tensor(middle, dtype=torch.float64))) > 1 - confidence:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def false_accepts_per_hour(count: int, hours: float, confidence: float = 0.95) -> Rate:
    """Return the rate of false accepts beside its hours and bound.

    Raises:
        ConfigurationError: the hours are not positive, or the count is no whole number from 0 on.

    Example:
        >>> print(false_accepts_per_hour(2, 4.0))
        0.50 per hour (2 in 4.00 h; 95 % bound 1.57)
    """
    check_arguments(false_accepts_per_hour, count=count, hours=hours, confidence=confidence)
    if count < 0:
        raise ConfigurationError(f"false_accepts_per_hour(count={count}) must be 0 or more.")
    if not 0 < hours < math.inf:
        raise ConfigurationError(f"false_accepts_per_hour(hours={hours}) must be positive.")
    return Rate(count, hours, poisson_bound(count, confidence) / hours, confidence)


@dataclass(frozen=True)
class DetCurve:
    """Detection error trade-off: what a threshold accepts falsely against what it misses.

    Args:
        thresholds: `[points]`, rising.
        false_accepts: per hour, `[points]`.
        false_rejects: share of the keywords, `[points]`.
    """

    thresholds: Tensor
    false_accepts: Tensor
    false_rejects: Tensor


def det_curve(thresholds: Tensor, accepts: Tensor, hits: Tensor, keywords: int, hours: float) -> DetCurve:
    """Make a curve of counts.

    Args:
        thresholds: `[points]`, rising.
        accepts: false accepts at each threshold, `[points]`.
        hits: keywords found at each threshold, `[points]`.
        keywords: keywords in all.
        hours: length of what was listened to.

    Raises:
        ConfigurationError: there is no keyword, or no time.
    """
    if keywords < 1 or not hours > 0:
        raise ConfigurationError(f"det_curve(keywords={keywords}, hours={hours}) needs keywords and time.")
    return DetCurve(thresholds, accepts.double() / hours, 1 - hits.double() / keywords)


def recall_at(curve: DetCurve, false_accepts_per_hour: float) -> float:
    """Return the largest share of keywords found with at most that many false accepts per hour; 0 if none holds it."""
    allowed = curve.false_accepts <= false_accepts_per_hour
    return float((1 - curve.false_rejects[allowed]).max()) if bool(allowed.any()) else 0.0


def det_area(curve: DetCurve, up_to: float) -> float:
    """Return the mean share of missed keywords over false-accept rates from 0 to `up_to` per hour; 0 is perfect.

    At each rate the best threshold that holds it counts, so the curve is a staircase; where none does, all is missed.

    Raises:
        ConfigurationError: `up_to` is not positive.

    Example:
        >>> curve = DetCurve(torch.tensor([0.5, 0.9]), torch.tensor([5.0, 0.0]), torch.tensor([0.1, 0.3]))
        >>> round(det_area(curve, up_to=10.0), 3)
        0.2
    """
    if not up_to > 0:
        raise ConfigurationError(f"det_area(up_to={up_to}) must be a positive rate per hour.")
    rates, order = curve.false_accepts.sort(stable=True)
    missed = curve.false_rejects[order].cummin(0).values
    edges = [0.0, *[float(rate) for rate in rates if 0 < rate < up_to], up_to]
    area = 0.0
    for low, high in pairwise(edges):
        holding = missed[rates <= low]
        area += (high - low) * (float(holding[-1]) if len(holding) else 1.0)
    return area / up_to


def detection_latency(latencies: Sequence[float]) -> dict[str, float]:
    """Return mean, median and 95th percentile of seconds from the end of a keyword to its event; empty for none."""
    if not latencies:
        return {}
    values = torch.tensor(list(latencies), dtype=torch.float64)
    return {
        "mean": float(values.mean()),
        "median": float(values.quantile(0.5)),
        "p95": float(values.quantile(0.95)),
    }
