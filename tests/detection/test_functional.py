"""Rates, bounds and curves against values worked out elsewhere."""

from __future__ import annotations

import math

import pytest
import torch

from lightning_esp.detection.functional import (
    DetCurve,
    det_area,
    det_curve,
    detection_latency,
    false_accepts_per_hour,
    poisson_bound,
    recall_at,
)
from lightning_esp.errors import ConfigurationError


# Published tables of the exact one-sided 95 % limit.
@pytest.mark.parametrize(("count", "bound"), [(0, 2.996), (1, 4.744), (2, 6.296), (10, 16.962), (100, 118.08)])
def test_the_poisson_bound_is_that_of_the_tables(count: int, bound: float) -> None:
    assert poisson_bound(count) == pytest.approx(bound, abs=0.006)


@pytest.mark.parametrize("count", [0, 3, 17])
@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.99])
def test_the_bound_leaves_just_the_doubt_that_was_asked_for(count: int, confidence: float) -> None:
    mean = poisson_bound(count, confidence)
    below = sum(math.exp(-mean) * mean**k / math.factorial(k) for k in range(count + 1))
    assert below == pytest.approx(1 - confidence, rel=1e-9)


def test_a_rate_says_its_hours_and_bound() -> None:
    rate = false_accepts_per_hour(3, 0.5)
    assert rate.per_hour == 6
    assert rate.bound == pytest.approx(2 * poisson_bound(3))
    assert str(rate).startswith("6.00 per hour (3 in 0.50 h; 95 % bound 15.5")


@pytest.mark.parametrize("hours", [0.0, -1.0, float("nan")])
def test_no_time_is_refused(hours: float) -> None:
    with pytest.raises(ConfigurationError, match="must be positive"):
        false_accepts_per_hour(0, hours)


def test_recall_takes_the_best_threshold_that_holds_the_rate() -> None:
    curve = DetCurve(torch.tensor([0.2, 0.5, 0.9]), torch.tensor([30.0, 4.0, 0.0]), torch.tensor([0.0, 0.1, 0.5]))
    assert recall_at(curve, 100.0) == 1.0
    assert recall_at(curve, 4.0) == pytest.approx(0.9)
    assert recall_at(curve, 3.9) == pytest.approx(0.5)
    assert recall_at(DetCurve(torch.tensor([0.5]), torch.tensor([4.0]), torch.tensor([0.1])), 1.0) == 0.0


def test_the_area_is_that_of_the_staircase() -> None:
    curve = DetCurve(torch.tensor([0.2, 0.5, 0.9]), torch.tensor([8.0, 4.0, 1.0]), torch.tensor([0.0, 0.25, 0.5]))
    # Nothing holds rates below 1; 0.5 from 1 to 4; 0.25 from 4 to 8; nothing missed from 8 to 10.
    assert det_area(curve, 10.0) == pytest.approx((1 * 1.0 + 3 * 0.5 + 4 * 0.25 + 2 * 0.0) / 10)


def test_a_perfect_and_a_deaf_detector_have_the_extreme_areas() -> None:
    zero, one = torch.tensor([0.0]), torch.tensor([1.0])
    assert det_area(DetCurve(zero, zero, zero), 5.0) == 0.0
    assert det_area(DetCurve(zero, zero, one), 5.0) == 1.0


def test_a_curve_is_made_of_counts() -> None:
    curve = det_curve(torch.tensor([0.1, 0.9]), torch.tensor([6, 0]), torch.tensor([10, 4]), keywords=10, hours=2.0)
    assert curve.false_accepts.tolist() == [3.0, 0.0]
    assert curve.false_rejects.tolist() == pytest.approx([0.0, 0.6])
    with pytest.raises(ConfigurationError, match="needs keywords and time"):
        det_curve(torch.tensor([0.5]), torch.tensor([0]), torch.tensor([0]), keywords=0, hours=1.0)


def test_latency_in_three_figures() -> None:
    assert detection_latency([]) == {}
    assert detection_latency([0.1, 0.2, 0.6])["median"] == pytest.approx(0.2)
    assert detection_latency([0.1, 0.2, 0.6])["mean"] == pytest.approx(0.3)
