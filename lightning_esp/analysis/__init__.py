"""What quantization costs, layer by layer and tensor by tensor."""

from lightning_esp.analysis.analysis import analyze, name_worst, rank_modules
from lightning_esp.analysis.model import Analysis, Excerpt, FlowStep, LayerNoise, ModuleEffect, TensorRange

__all__ = [
    "Analysis",
    "Excerpt",
    "FlowStep",
    "LayerNoise",
    "ModuleEffect",
    "TensorRange",
    "analyze",
    "name_worst",
    "rank_modules",
]
