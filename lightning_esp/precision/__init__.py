"""Precision that a model needs: noise of quantization by layer, and the search of `Quantization(precision="auto")`."""

from lightning_esp.precision.analysis import analyze, name_worst, rank_modules
from lightning_esp.precision.candidate import Candidate, PrecisionSearch
from lightning_esp.precision.context import SearchContext
from lightning_esp.precision.figures import Analysis, FlowStep, LayerNoise, ModuleEffect, Snippet, TensorRange
from lightning_esp.precision.search import search_precision
from lightning_esp.precision.state_calibration import CacheGrid, StateCalibration, compare_state_calibration

__all__ = [
    "Analysis",
    "CacheGrid",
    "Candidate",
    "FlowStep",
    "LayerNoise",
    "ModuleEffect",
    "PrecisionSearch",
    "SearchContext",
    "Snippet",
    "StateCalibration",
    "TensorRange",
    "analyze",
    "compare_state_calibration",
    "name_worst",
    "rank_modules",
    "search_precision",
]
