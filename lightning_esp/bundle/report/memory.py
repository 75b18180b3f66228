"""Memory that a model takes on a chip, and that the firmware asks for when it starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_esp.bundle.report.markup import Markup, size, table

Data = Mapping[str, Any]


def list_memory_tiles(estimate: Data, budget: Data) -> list[tuple[str, str, str]]:
    """Return name, figure and note of RAM, PSRAM included, and of flash."""
    together = size(estimate["ram"] + estimate["psram"])
    parts = f"RAM {size(estimate['ram'])}{_limit(budget.get('ram'))}, parameters {size(estimate['psram'])}"
    return [
        ("RAM and PSRAM, estimated", together, f"{parts}; what the firmware asks for at its start"),
        ("flash of the model", size(estimate["flash"]), _limit(budget.get("flash")).strip() or "golden files aside"),
    ]


def render_memory(estimate: Data | None, bytes_: Data) -> Markup:
    """Return the table of memory of one target.

    Args:
        estimate: of the target in `manifest.json`; None where it has none.
        bytes_: `bytes` of the target in `report.json`.
    """
    if estimate is None:
        return Markup("")
    golden = bytes_.get("golden")
    rows = [
        ["RAM: activations, caches, buffers, ESP-DL itself", size(estimate["ram"]), "wherever ESP-DL places them"],
        ["RAM or PSRAM: parameters", size(estimate["psram"]), "in PSRAM where the chip has some"],
        [
            "together",
            size(estimate["ram"] + estimate["psram"]),
            "the firmware starts if so much is free (kEstimatedRam + kEstimatedParameters)",
        ],
        ["flash: model files", size(estimate["flash"]), "what Budget(flash=...) limits"],
    ]
    if golden is not None:
        rows.append(
            ["flash: golden files", size(golden), "for the self-test; Deployment(golden=False) leaves them out"]
        )
        rows.append(["flash together", size(estimate["flash"] + golden), "beside the program"])
    return table("Memory; RAM and PSRAM are estimates, flash is counted", ["what", "size", ""], rows, (1,))


def _limit(limit: int | None) -> str:
    return "" if limit is None else f" of {size(limit)} allowed"
