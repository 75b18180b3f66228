"""Analysis of tensors and caches, the worst first, and of calibration with and without their states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_esp.bundle.report.markup import Markup, join, number, table, tag

SHOWN = 5


def render_worst_ranges(figures: Mapping[str, Any]) -> Markup:
    """Return the tensors that clip most, or use least of their range; empty where none was measured.

    Args:
        figures: the target's entry in `report.json`.
    """
    analysis = figures.get("analysis", {})
    tensors = {tensor["name"]: tensor for tensor in analysis.get("tensors", ())}
    worst = [tensors[name] for name in analysis.get("worst_tensors", ())[:SHOWN]]
    if not worst:
        return Markup("")
    rows = [
        [tensor["name"], tensor["kind"], f"{100 * tensor['clipped']:.2f} %", f"{100 * tensor['used']:.0f} %"]
        for tensor in worst
    ]
    return table(
        "The tensors that clip most, then those that use least of their range",
        ["tensor", "kind", "clipped", "used"],
        rows,
        (2, 3),
    )


def render_states(figures: Mapping[str, Any]) -> Markup:
    """Return what calibration with rolled states gained over one with initial states; empty where it was not measured.

    Args:
        figures: the target's entry in `report.json`.
    """
    states = figures.get("analysis", {}).get("states")
    if not states:
        return Markup("")
    rows = [[cache["name"], number(cache["rolled"]), number(cache["zero"])] for cache in states["caches"]]
    return join(
        [
            tag("h3", "Calibration with and without state"),
            tag(
                "p",
                "The model was calibrated with windows and the states that they met in their recordings: ",
                tag("strong", _ratio(states["rolled_db"])),
                " at the noisiest output. With every cache at its initial value, as windows that stand alone would have it: ",
                tag("strong", _ratio(states["zero_db"])),
                ". That form is measured for comparison and is not in the bundle.",
            ),
            table("Exponent of each cache", ["cache", "rolled states", "initial states"], rows, (1, 2)),
        ]
    )


def _ratio(decibels: float | None) -> str:
    return "no noise" if decibels is None else f"{decibels:.1f} dB"
