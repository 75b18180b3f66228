"""`render_climb`: the precisions that were tried, as a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lightning_esp.bundle.report.markup import Markup, join, number, size, table, tag

MINUS = "\u2212"
# Of the user's own metrics, so many stand in the table; the manifest has them all.
SHOWN = 2
_NOT_THE_USERS = ("loss", "agreement", "snr_db")
_CLASSES = {"chosen": "good", "rejected": "bad"}


def render_climb(figures: Mapping[str, Any]) -> Markup:
    """Return the section of one target; empty where its precision was given.

    Args:
        figures: the target's entry in `report.json`.
    """
    climb = figures.get("climb")
    if not climb:
        return Markup("")
    rungs = climb["rungs"]
    first = next((rung for rung in rungs if rung["flash"] is not None), rungs[0])
    names = dict.fromkeys(name for rung in rungs for name in rung["metrics"])
    metrics = [name for name in names if not any(word in name for word in _NOT_THE_USERS)][:SHOWN]
    header = ["rung", "outputs, dB", *metrics, "flash", "RAM", "step, µs", "outcome"]
    reasons = [tag("li", tag("strong", rung["name"]), f": {rung['reason']}") for rung in rungs if rung["reason"]]
    return join(
        [
            tag("h3", "The climb to a precision"),
            tag(
                "p",
                f"Tried from the cheapest on, until the metrics held a tolerance of {number(climb['tolerance'])}, the budget held, "
                "and every other proof. Signal-to-noise ratios are those of the noisiest output; times and memory are estimates. "
                "In brackets: gained and paid against the first.",
            ),
            table(
                "What was tried",
                header,
                [_row(rung, first, metrics) for rung in rungs],
                tuple(range(1, len(metrics) + 5)),
            ),
            tag("ul", *reasons) if reasons else "",
        ]
    )


def _row(rung: Mapping[str, Any], first: Mapping[str, Any], metrics: list[str]) -> list[object]:
    base = {} if rung is first else first
    return [
        rung["name"],
        _figure(rung, base, "output_snr_db", lambda value: f"{value:.1f}") if rung["output_snr_db"] else _silence(rung),
        *(number(rung["metrics"].get(name)) for name in metrics),
        _figure(rung, base, "flash", size),
        _figure(rung, base, "ram", size),
        _figure(rung, base, "step_us", number),
        tag("span", rung["outcome"], class_=_CLASSES.get(rung["outcome"], "soft")),
    ]


def _silence(rung: Mapping[str, Any]) -> str:
    return "–" if rung["noise"] is None else "exact"


def _figure(rung: Mapping[str, Any], base: Mapping[str, Any], key: str, show: Callable[[Any], str]) -> str:
    """A figure, and behind it how far it is from that of `base`."""
    value, before = rung[key], base.get(key)
    if value is None:
        return "–"
    if before is None or before == value:
        return show(value)
    return f"{show(value)} ({'+' if value >= before else MINUS}{show(abs(value - before))})"
