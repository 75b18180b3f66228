"""The proof of keywords: amber with each reason not to trust a device that computes rightly."""

from __future__ import annotations

from typing import Any

import pytest

from lightning_esp.verification.keywords import finds_keywords

LABELS = ["_other_", "yes", "no"]


def report(**changes: Any) -> dict[str, Any]:
    """Figures of two hours in which nothing is wrong, but for the changes; those of the integers by `integer__<key>`."""
    integer = {
        "keywords": 20,
        "missed": 1,
        "missed_by_label": {"no": [0, 10], "yes": [1, 10]},
        "false_accepts": {"count": 1, "hours": 2.0, "per_hour": 0.5, "bound": 2.4},
    }
    whole: dict[str, Any] = {
        "labels": LABELS,
        "detector": {"thresholds": [None, 0.5, 0.5], "activation": "softmax"},
        "max_false_accepts_per_hour": 1.0,
        "max_misses": None,
    }
    for key, value in changes.items():
        (integer if key.startswith("integer__") else whole)[key.removeprefix("integer__")] = value
    return {**whole, "networks": {"integer": integer}}


def test_nothing_wrong_is_green() -> None:
    proof = finds_keywords(report())
    assert (proof.state, proof.figure, proof.limit, proof.where) == ("green", 0.1, 0.1, "yes")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"integer__missed_by_label": {"no": [0, 10], "yes": [2, 10]}}, "'yes' is missed 2 times of 10"),
        ({"integer__missed_by_label": {"yes": [1, 10]}}, "no validation stream holds 'no'"),
        (
            {"detector": {"thresholds": [None, None, 0.5], "activation": "softmax"}},
            "'yes' never fires, since it has no threshold",
        ),
        (
            {"integer__false_accepts": {"count": 9, "hours": 2.0, "per_hour": 4.5, "bound": 8.0}},
            "9 false accepts in 2 h of validation streams are more than 1 an hour",
        ),
        (
            {"integer__false_accepts": {"count": 0, "hours": 0.1, "per_hour": 0.0, "bound": 30.0}},
            "0.1 h of validation streams are too short to tell 1 false accepts an hour",
        ),
        (
            {"labels": ["left", "yes", "no"], "detector": {"thresholds": [0.5] * 3, "activation": "softmax"}},
            "no class stands for what is no keyword",
        ),
        (
            {"integer__keywords": 0, "integer__missed": 0, "integer__missed_by_label": {}},
            "no validation stream holds a keyword",
        ),
    ],
)
def test_each_reason_is_amber(changes: dict[str, Any], reason: str) -> None:
    proof = finds_keywords(report(**changes))
    assert proof.state == "amber"
    assert reason in proof.doubt


def test_a_sigmoid_needs_no_class_for_the_rest() -> None:
    detector = {"thresholds": [0.5, 0.5, 0.5], "activation": "sigmoid"}
    integer = {"no": [0, 5], "yes": [0, 5], "left": [0, 5]}
    changed = report(labels=["left", "yes", "no"], detector=detector, integer__missed_by_label=integer)
    assert finds_keywords(changed).state == "green"


def test_no_streams_at_all_are_amber() -> None:
    proof = finds_keywords({})
    assert (proof.state, proof.passed) == ("amber", True)
    assert "no validation streams" in proof.doubt


def test_what_is_missed_beyond_a_limit_of_the_user_fails() -> None:
    missed = {"no": [0, 10], "yes": [2, 10]}
    assert finds_keywords(report(max_misses=0.2, integer__missed_by_label=missed)).state == "green"
    proof = finds_keywords(report(max_misses=0.1, integer__missed_by_label=missed))
    assert (proof.state, proof.figure, proof.limit, proof.where) == ("failed", 0.2, 0.1, "yes")
    assert "'yes' is missed 2 times of 10" in proof.next_step


def test_false_accepts_beyond_the_rate_fail_where_the_user_set_a_limit() -> None:
    accepts = {"count": 9, "hours": 2.0, "per_hour": 4.5, "bound": 8.0}
    assert finds_keywords(report(max_misses=0.1, integer__false_accepts=accepts)).state == "failed"
    short = {"count": 1, "hours": 0.1, "per_hour": 10.0, "bound": 40.0}
    assert finds_keywords(report(max_misses=0.1, integer__false_accepts=short)).state == "amber"
    many = {"count": 9, "hours": 0.1, "per_hour": 90.0, "bound": 160.0}
    assert finds_keywords(report(max_misses=0.1, integer__false_accepts=many)).state == "failed"
