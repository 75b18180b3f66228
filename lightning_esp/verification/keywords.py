"""Proof of keywords: the model finds them in the validation streams. The others say that it computes rightly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lightning_esp.verification.proof import Proof

# Share of the keywords of one class that a device may miss before somebody should look, where the user set no limit.
MOST_MISSED = 0.1

NAME = "finds its keywords"


def finds_keywords(report: Mapping[str, Any]) -> Proof:
    """Judge the integer stream on the validation streams, with the thresholds of the detector.

    A model that detects badly is still the model that was trained, so this fails only where the user set a limit,
    `Detector(max_misses=...)`. It is amber with each reason not to trust what the device will do: no streams at all, classes
    that never fire or miss much, false accepts beyond the limit, and streams that are too short, or lack a keyword, to tell.

    Args:
        report: figures on the validation streams, as `StreamEvaluator.evaluate` returns them; empty where there are none.

    Returns:
        The largest share of keywords of one class that is missed, and what it may be.
    """
    if not report:
        return Proof(NAME, 0.0, MOST_MISSED, True, doubt=_NO_STREAMS)
    limit = MOST_MISSED if report["max_misses"] is None else report["max_misses"]
    shares = dict(_miss_shares(report))
    worst = max(shares, key=lambda label: shares[label], default="")
    wrong = [*_of_classes(report, limit), *_of_false_accepts(report)]
    doubtful = [*_of_labels(report), *_of_lengths(report)]
    share = round(shares.get(worst, 0.0), 6)
    if report["max_misses"] is None or not wrong:
        return Proof(NAME, share, limit, True, where=worst, doubt="; ".join([*wrong, *doubtful]))
    return Proof(NAME, share, limit, False, where=worst, next_step=f"{'; '.join(wrong)}. {_NEXT_STEP}")


_NO_STREAMS = (
    "nothing says whether it does, since there are no validation streams; give the datamodule or the LightningModule a "
    "validation_streams(), or export(streams=...)"
)
_NEXT_STEP = (
    "Train longer, or with more voices, speech and noise; look at the curve in the report of an export without "
    "Detector(max_misses=...), which writes the bundle all the same."
)


def _miss_shares(report: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for label, (misses, count) in report["networks"]["integer"]["missed_by_label"].items():
        yield label, misses / count


def _wanted(report: Mapping[str, Any]) -> list[str]:
    return [label for label in report["labels"] if not label.startswith("_")]


def _of_classes(report: Mapping[str, Any], limit: float) -> Iterator[str]:
    missed = report["networks"]["integer"]["missed_by_label"]
    thresholds = dict(zip(report["labels"], report["detector"]["thresholds"], strict=True))
    for label in _wanted(report):
        misses, count = missed.get(label, (0, 0))
        if thresholds[label] is None:
            yield f"{label!r} never fires, since it has no threshold"
        elif misses > limit * count:
            yield f"{label!r} is missed {misses} times of {count}"


def _of_labels(report: Mapping[str, Any]) -> Iterator[str]:
    wanted, missed = _wanted(report), report["networks"]["integer"]["missed_by_label"]
    if len(wanted) == len(report["labels"]) and report["detector"]["activation"] == "softmax":
        yield "no class stands for what is no keyword, so one of them always scores highest; add `_other_`, or use sigmoid"
    if not missed:
        yield "no validation stream holds a keyword"
        return
    for label in wanted:
        if label not in missed:
            yield f"no validation stream holds {label!r}"


def _of_false_accepts(report: Mapping[str, Any]) -> Iterator[str]:
    accepts, rate = report["networks"]["integer"]["false_accepts"], report["max_false_accepts_per_hour"]
    if accepts["per_hour"] > rate and _tells_rate(report):
        yield f"{accepts['count']} false accepts in {_hours(report)} are more than {rate:g} an hour"


def _of_lengths(report: Mapping[str, Any]) -> Iterator[str]:
    accepts, rate = report["networks"]["integer"]["false_accepts"], report["max_false_accepts_per_hour"]
    if not _tells_rate(report):
        count = ", in which one came" if accepts["count"] else ""
        yield (
            f"{_hours(report)}{count} are too short to tell {rate:g} false accepts an hour from none; give longer ones without "
            "keywords"
        )


def _tells_rate(report: Mapping[str, Any]) -> bool:
    """Tell whether the streams are long enough for the rate; several false accepts are too many however short they are."""
    accepts = report["networks"]["integer"]["false_accepts"]
    return bool(accepts["hours"] * report["max_false_accepts_per_hour"] >= 1 or accepts["count"] > 1)


def _hours(report: Mapping[str, Any]) -> str:
    return f"{report['networks']['integer']['false_accepts']['hours']:.3g} h of validation streams"
