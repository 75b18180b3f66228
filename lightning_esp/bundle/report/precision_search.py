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


def render_precision_search(figures: Mapping[str, Any]) -> Markup:
    """Return the section of one target; empty where its precision was given.

    Args:
        figures: the target's entry in `report.json`.
    """
    precision_search = figures.get("precision_search")
    if not precision_search:
        return Markup("")
    candidates = precision_search["candidates"]
    first = next((candidate for candidate in candidates if candidate["flash"] is not None), candidates[0])
    names = dict.fromkeys(name for candidate in candidates for name in candidate["metrics"])
    metrics = [name for name in names if not any(word in name for word in _NOT_THE_USERS)][:SHOWN]
    # They stand there only where the search was limited by them: an export is else the same twice.
    timed = ["seconds"] if "search_seconds" in precision_search else []
    header = ["candidate", "outputs, dB", *metrics, "flash", "RAM", "step, µs", *timed, "outcome"]
    reasons = [
        tag("li", tag("strong", candidate["name"]), f": {candidate['reason']}")
        for candidate in candidates
        if candidate["reason"]
    ]
    return join(
        [
            tag("h3", "The search to a precision"),
            tag(
                "p",
                f"Tried from the cheapest on, until the metrics held a tolerance of {number(precision_search['tolerance'])}, the budget held, "
                "and every other proof. Signal-to-noise ratios are those of the noisiest output; times and memory are estimates. "
                "In brackets: gained and paid against the first.",
            ),
            table(
                "What was tried",
                header,
                [_row(candidate, first, metrics) for candidate in candidates],
                tuple(range(1, len(metrics) + 5 + len(timed))),
            ),
            tag("ul", *reasons) if reasons else "",
        ]
    )


def _row(candidate: Mapping[str, Any], first: Mapping[str, Any], metrics: list[str]) -> list[object]:
    base = {} if candidate is first else first
    return [
        candidate["name"],
        _figure(candidate, base, "output_snr_db", lambda value: f"{value:.1f}")
        if candidate["output_snr_db"]
        else _silence(candidate),
        *(number(candidate["metrics"].get(name)) for name in metrics),
        _figure(candidate, base, "flash", size),
        _figure(candidate, base, "ram", size),
        _figure(candidate, base, "step_us", number),
        *(f"{candidate['seconds']:.1f}" for _ in range("seconds" in candidate)),
        tag("span", candidate["outcome"], class_=_CLASSES.get(candidate["outcome"], "soft")),
    ]


def _silence(candidate: Mapping[str, Any]) -> str:
    return "–" if candidate["noise"] is None else "exact"


def _figure(candidate: Mapping[str, Any], base: Mapping[str, Any], key: str, show: Callable[[Any], str]) -> str:
    """A figure, and behind it how far it is from that of `base`."""
    value, before = candidate[key], base.get(key)
    if value is None:
        return "–"
    if before is None or before == value:
        return show(value)
    return f"{show(value)} ({'+' if value >= before else MINUS}{show(abs(value - before))})"
