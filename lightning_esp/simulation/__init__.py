"""A quantized model as a Python object: stages in closed loop, integers inside."""

from lightning_esp.simulation.agreement import check_files, find_file_faults
from lightning_esp.simulation.continuous import ContinuousRun
from lightning_esp.simulation.integer_pipeline import IntegerPipeline, interpret
from lightning_esp.simulation.integer_windows import (
    integer_windows,
    join_stack,
    join_windows,
    split_stack,
    stack_windows,
)
from lightning_esp.simulation.probe import Probe
from lightning_esp.simulation.quantized_streaming import QuantizedStreaming, Runner
from lightning_esp.simulation.recorder import IntegerRecorder
from lightning_esp.simulation.schedule import StageSchedule

__all__ = [
    "ContinuousRun",
    "IntegerPipeline",
    "IntegerRecorder",
    "Probe",
    "QuantizedStreaming",
    "Runner",
    "StageSchedule",
    "check_files",
    "find_file_faults",
    "integer_windows",
    "interpret",
    "join_stack",
    "join_windows",
    "split_stack",
    "stack_windows",
]
