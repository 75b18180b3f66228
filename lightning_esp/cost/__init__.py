"""Cost of a model on a chip, estimated before it is flashed: a small model of time, fitted to public figures."""

from lightning_esp.cost.chip import MEGAHERTZ, TIMED_CHIPS, Chip, FitError, chip_of, reference_chip
from lightning_esp.cost.estimate import (
    Estimate,
    LayerEstimate,
    StageEstimate,
    check_budget,
    cut_by_count,
    estimate_stage,
)
from lightning_esp.cost.operators import Traffic, traffic_of, work_of
from lightning_esp.cost.pace import FrontEndLoad, front_end_us, network_us, share_of_time
from lightning_esp.cost.work import Work, convolution, copy, pool, recurrent

__all__ = [
    "MEGAHERTZ",
    "TIMED_CHIPS",
    "Chip",
    "Estimate",
    "FitError",
    "FrontEndLoad",
    "LayerEstimate",
    "StageEstimate",
    "Traffic",
    "Work",
    "check_budget",
    "chip_of",
    "convolution",
    "copy",
    "cut_by_count",
    "estimate_stage",
    "front_end_us",
    "network_us",
    "pool",
    "recurrent",
    "reference_chip",
    "share_of_time",
    "traffic_of",
    "work_of",
]
