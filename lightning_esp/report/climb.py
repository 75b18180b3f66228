"""`render_climb`: the precisions that were tried, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_esp.report.markup import Markup, join, number, size, table, tag

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
    metrics = list(dict.fromkeys(name for rung in rungs for name in rung["metrics"] if "loss" not in name))[:3]
    rows = [_row(rung, first, metrics) for rung in rungs]
    header = ["rung", "outputs, dB", *metrics, "flash", "RAM", "step, µs", "against the first", "outcome"]
    return join(
        [
            tag("h3", "The climb to a precision"),
            tag(
                "p",
                f"Tried from the cheapest on, until the metrics held a tolerance of {number(climb['tolerance'])}, the budget held, "
                "and every other proof. Signal-to-noise ratios are those of the noisiest output; times and memory are estimates.",
            ),
            table("What was tried, gained and paid", header, rows, tuple(range(1, len(metrics) + 5))),
        ]
    )


def _row(rung: Mapping[str, Any], first: Mapping[str, Any], metrics: list[str]) -> list[object]:
    known = rung["flash"] is not None
    return [
        rung["name"],
        _ratio(rung),
        *(number(rung["metrics"].get(name)) for name in metrics),
        size(rung["flash"]) if known else "–",
        size(rung["ram"]) if known else "–",
        number(rung["step_us"]),
        _gain(rung, first) if known and rung is not first else "",
        join([tag("span", rung["outcome"], class_=_CLASSES.get(rung["outcome"], "soft")), _reason(rung["reason"])]),
    ]


def _ratio(rung: Mapping[str, Any]) -> str:
    if rung["noise"] is None:
        return "–"
    return "exact" if rung["output_snr_db"] is None else f"{rung['output_snr_db']:.1f}"


def _reason(reason: str) -> str:
    return f": {reason}" if reason else ""


def _gain(rung: Mapping[str, Any], first: Mapping[str, Any]) -> str:
    """What a rung gives in decibels, and what it costs, against the first one."""
    parts = []
    if rung["output_snr_db"] is not None and first["output_snr_db"] is not None:
        parts.append(f"{_signed(rung['output_snr_db'] - first['output_snr_db'], 1)} dB")
    parts.append(f"{_signed(rung['flash'] - first['flash'])} bytes of flash")
    if rung["step_us"] is not None and first["step_us"] is not None:
        parts.append(f"{_signed(rung['step_us'] - first['step_us'])} µs")
    return ", ".join(parts)


def _signed(value: float, digits: int = 0) -> str:
    return f"{value:+.{digits}f}".replace("-", "\u2212")
