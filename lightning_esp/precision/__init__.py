"""Precision that a model needs: noise of quantization by layer, and the search of `Quantization(precision="auto")`."""

from lightning_esp.precision.analysis import analyze, name_worst, rank_modules
from lightning_esp.precision.candidate import Climb, Rung
from lightning_esp.precision.context import Ground
from lightning_esp.precision.figures import Analysis, Excerpt, FlowStep, LayerNoise, ModuleEffect, TensorRange
from lightning_esp.precision.search import climb
from lightning_esp.precision.state_calibration import CacheGrid, StateCalibration, compare_state_calibration

__all__ = [
    "Analysis",
    "CacheGrid",
    "Climb",
    "Excerpt",
    "FlowStep",
    "Ground",
    "LayerNoise",
    "ModuleEffect",
    "Rung",
    "StateCalibration",
    "TensorRange",
    "analyze",
    "climb",
    "compare_state_calibration",
    "name_worst",
    "rank_modules",
]
