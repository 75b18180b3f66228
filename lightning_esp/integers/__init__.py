"""A quantized model as a Python object: stages in closed loop, integers inside."""

from lightning_esp.integers.continuous import ContinuousRun
from lightning_esp.integers.module import QuantizedStreaming, Runner
from lightning_esp.integers.pipeline import IntegerPipeline, interpret
from lightning_esp.integers.recorder import IntegerRecorder
from lightning_esp.integers.windows import integer_windows, join_stack, split_stack, stack_windows

__all__ = [
    "ContinuousRun",
    "IntegerPipeline",
    "IntegerRecorder",
    "QuantizedStreaming",
    "Runner",
    "integer_windows",
    "interpret",
    "join_stack",
    "split_stack",
    "stack_windows",
]
