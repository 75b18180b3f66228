"""From outputs per frame to decisions, and how good these are."""

from lightning_esp.evaluation.detector import (
    DetectorSettings,
    DetectorState,
    Event,
    compute_scores,
    detect,
    initial_state,
    resolve_settings,
    step,
)

__all__ = [
    "DetectorSettings",
    "DetectorState",
    "Event",
    "compute_scores",
    "detect",
    "initial_state",
    "resolve_settings",
    "step",
]
