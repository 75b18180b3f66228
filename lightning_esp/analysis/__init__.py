"""What quantization costs, layer by layer and tensor by tensor."""

from lightning_esp.analysis.analysis import analyze, name_worst, rank_modules
from lightning_esp.analysis.model import Analysis, Excerpt, FlowStep, LayerNoise, ModuleEffect, TensorRange
from lightning_esp.analysis.states import CacheGrid, StateCalibration, compare_state_calibration

__all__ = [
    "Analysis",
    "CacheGrid",
    "Excerpt",
    "FlowStep",
    "LayerNoise",
    "ModuleEffect",
    "StateCalibration",
    "TensorRange",
    "analyze",
    "compare_state_calibration",
    "name_worst",
    "rank_modules",
]
