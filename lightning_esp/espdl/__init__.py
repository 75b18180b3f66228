"""`.espdl` files as data, and what ESP-DL computes from them, in integers. Knows files only."""

from lightning_esp.espdl.arithmetic import chip_rules
from lightning_esp.espdl.espdl_model import EspdlModel, Operator, Tensor
from lightning_esp.espdl.interpreter import EspdlInterpreter, Instruction, Trace, operator_key
from lightning_esp.espdl.kernels import Node, accumulator_bound, build_kernel
from lightning_esp.espdl.kernels.limits import reduced_axes
from lightning_esp.espdl.kernels.movement import read_slices
from lightning_esp.espdl.kernels.node import attribute_ints, positive_axis
from lightning_esp.espdl.kernels.recurrent import gate_tables
from lightning_esp.espdl.kernels.reduction import newton_root, sum_in_order
from lightning_esp.espdl.memory import VIEW, Hazard, Program, Step, check_memory, mend, plan_memory, program_of
from lightning_esp.espdl.ranges import Range, value_ranges, whole_range
from lightning_esp.espdl.reader import list_models, read_espdl
from lightning_esp.espdl.recording import EspdlRecorder, Recording
from lightning_esp.espdl.registers import Register, Unrolling, unroll
from lightning_esp.espdl.seal import BLANK, KEY, is_sealed, seal
from lightning_esp.espdl.stream import IntegerStream

__all__ = [
    "BLANK",
    "KEY",
    "VIEW",
    "EspdlInterpreter",
    "EspdlModel",
    "EspdlRecorder",
    "Hazard",
    "Instruction",
    "IntegerStream",
    "Node",
    "Operator",
    "Program",
    "Range",
    "Recording",
    "Register",
    "Step",
    "Tensor",
    "Trace",
    "Unrolling",
    "accumulator_bound",
    "attribute_ints",
    "build_kernel",
    "check_memory",
    "chip_rules",
    "gate_tables",
    "is_sealed",
    "list_models",
    "mend",
    "newton_root",
    "operator_key",
    "plan_memory",
    "positive_axis",
    "program_of",
    "read_espdl",
    "read_slices",
    "reduced_axes",
    "seal",
    "sum_in_order",
    "unroll",
    "value_ranges",
    "whole_range",
]
