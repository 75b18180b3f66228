"""Proof of keywords: the model finds them in the validation streams. The others say that it computes rightly, not how it hears."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lightning_esp.verification.proof import Proof

# Keywords of one class that a device may miss, as a share, before somebody should look.
MOST_MISSED = 0.1

NAME = "finds its keywords"


def finds_keywords(report: Mapping[str, Any]) -> Proof:
    """Judge the integer stream on the validation streams, with the thresholds of the detector.

    A model that hears badly is still the model that was trained, so this never fails. It is amber with each reason not to
    trust what the device will do: classes that never fire or miss much, false accepts beyond the limit, and streams that
    are too short, or lack a keyword, to tell.

    Args:
        report: figures on the validation streams, as `StreamEvaluator.evaluate` returns them.

    Returns:
        The share of all keywords that is missed.
    """
    found = report["networks"]["integer"]
    missed = found["missed"] / max(1, found["keywords"])
    reasons = [*_of_classes(report), *_of_false_accepts(report)]
    if not found["keywords"]:
        reasons.append("no validation stream holds a keyword")
    return Proof(NAME, round(missed, 6), MOST_MISSED, True, doubt="; ".join(reasons))


def _of_classes(report: Mapping[str, Any]) -> Iterator[str]:
    labels, missed = report["labels"], report["networks"]["integer"]["missed_by_label"]
    thresholds = dict(zip(labels, report["detector"]["thresholds"], strict=True))
    wanted = [label for label in labels if not label.startswith("_")]
    if len(wanted) == len(labels) and report["detector"]["activation"] == "softmax":
        yield "no class stands for what is no keyword, so one of them always scores highest; add `_other_`, or use sigmoid"
    for label in wanted:
        misses, count = missed.get(label, (0, 0))
        if thresholds[label] is None:
            yield f"{label!r} never fires, since it has no threshold"
        elif not count and missed:
            yield f"no validation stream holds {label!r}"
        elif misses > MOST_MISSED * count:
            yield f"{label!r} is missed {misses} times of {count}"


def _of_false_accepts(report: Mapping[str, Any]) -> Iterator[str]:
    accepts, rate = report["networks"]["integer"]["false_accepts"], report["max_false_accepts_per_hour"]
    hours = f"{accepts['hours']:.3g} h of validation streams"
    if accepts["per_hour"] > rate:
        yield f"{accepts['count']} false accepts in {hours} are more than {rate:g} an hour"
    elif accepts["hours"] * rate < 1:
        yield f"{hours} are too short to tell {rate:g} false accepts an hour from none; give longer ones without keywords"
