"""`.espdl` files as data, and what ESP-DL computes from them, in integers. Knows files only."""

from lightning_esp.espdl.arithmetic import chip_rules
from lightning_esp.espdl.espdl_model import EspdlModel, Operator, Tensor
from lightning_esp.espdl.interpreter import EspdlInterpreter, Trace, operator_key
from lightning_esp.espdl.kernels import accumulator_bound
from lightning_esp.espdl.kernels.reduction import newton_root, sum_in_order
from lightning_esp.espdl.memory import VIEW, Hazard, Program, Step, check_memory, mend, plan_memory, program_of
from lightning_esp.espdl.ranges import Range, value_ranges, whole_range
from lightning_esp.espdl.reader import list_models, read_espdl
from lightning_esp.espdl.recording import EspdlRecorder, Recording
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
    "IntegerStream",
    "Operator",
    "Program",
    "Range",
    "Recording",
    "Step",
    "Tensor",
    "Trace",
    "accumulator_bound",
    "check_memory",
    "chip_rules",
    "is_sealed",
    "list_models",
    "mend",
    "newton_root",
    "operator_key",
    "plan_memory",
    "program_of",
    "read_espdl",
    "seal",
    "sum_in_order",
    "value_ranges",
    "whole_range",
]
