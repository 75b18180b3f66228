"""GRU and LSTM in esp-ppq, as ESP-DL computes them: gates from tables, and the cell state of an LSTM in int16."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from esp_ppq.core import (
    GRU_QUANT_EXPONENT,
    LSTM_QUANT_EXPONENT,
    QuantizationProperty,
    QuantizationStates,
    TargetPlatform,
    TensorQuantizationConfig,
)
from esp_ppq.executor.base import OPERATION_FORWARD_TABLE
from esp_ppq.executor.op.torch.espdl import ESPDL_QUANT_BACKEND_TABLE
from esp_ppq.IR import BaseGraph, Operation, QuantableOperation, Variable
from esp_ppq.quantization.optim.refine import QuantAlignmentPass
from torch import Tensor
from torch.overrides import TorchFunctionMode

_SIGMOID_BOUND, _TANH_BOUND = 6.3, 3.5
_HIDDEN_IN, _CELL_IN, _CELL_OUT = 5, 6, 2
_PASSING = ("Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")


class TableMode(TorchFunctionMode):
    """Makes torch compute as ESP-DL does: `sigmoid` and `tanh` from its tables, `matmul` from exact sums.

    The tables end at 6.3 and 3.5, and negative arguments are mirrored; beyond these bounds, or by the last bit of a
    float32, torch's own functions would decide a rounding otherwise.

    Args:
        exponent: of the gate inputs.
    """

    def __init__(self, exponent: int) -> None:
        super().__init__()
        scale = 2.0**exponent
        self._ends = {name: _last_entry(bound, scale) for name, bound in _BOUNDS.items()}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        name = getattr(func, "__name__", "")
        if func in (torch.sigmoid, torch.tanh):
            return _TABLES[name](args[0], self._ends[name])
        if func is torch.matmul:
            # Integer sums, exact where float32 is not, rounded once.
            return torch.matmul(*(value.double() for value in args)).float()
        return func(*args, **(kwargs or {}))


_BOUNDS = {"sigmoid": _SIGMOID_BOUND, "tanh": _TANH_BOUND}


def _last_entry(bound: float, scale: float) -> float:
    return (int(bound / scale) + 1) * scale


def _positive_sigmoid(x: Tensor) -> Tensor:
    # A float32 exponential and a double quotient, as in the C code.
    return (1 / (1 + torch.exp(-x.double()).float().double())).float()


def _sigmoid(x: Tensor, end: float) -> Tensor:
    value = _positive_sigmoid(x.abs().clamp(max=end).float())
    return torch.where(x >= 0, value, 1 - value).to(x.dtype)


def _tanh(x: Tensor, end: float) -> Tensor:
    value = 2 * _positive_sigmoid(2 * x.abs().clamp(max=end).float()) - 1
    return torch.where(x >= 0, value, -value).to(x.dtype)


_TABLES: dict[str, Callable[[Tensor, float], Tensor]] = {"sigmoid": _sigmoid, "tanh": _tanh}


def allow_zero_states() -> None:
    """Let esp-ppq align the states of a recurrent layer that starts from zeros, which has no input for them, in this process."""
    QuantAlignmentPass.align_to_first_output = _align_states


def _align_states(_: QuantAlignmentPass, op: QuantableOperation) -> TensorQuantizationConfig:
    """Give the state the scale of the output: where it comes out, and where it goes in, if it does."""
    outputs, inputs = op.config.output_quantization_config, op.config.input_quantization_config
    for state in (outputs[1], *inputs[_HIDDEN_IN : _HIDDEN_IN + 1]):
        if state.policy.has_property(QuantizationProperty.FLOATING):
            break
        if state.state not in {QuantizationStates.FP32, QuantizationStates.SOI}:
            state.master_by = outputs[0]
    return outputs[0]


def use_tables() -> None:
    """Let esp-ppq's executor compute recurrent layers by ESP-DL's tables, in this process."""
    for name, exponent in (("GRU", GRU_QUANT_EXPONENT), ("LSTM", LSTM_QUANT_EXPONENT)):
        ESPDL_QUANT_BACKEND_TABLE[name] = _tabled(ESPDL_QUANT_BACKEND_TABLE[name], exponent)
    # esp-ppq forgets the precise int16 of the P4 and S31, which therefore computed recurrent layers in float.
    OPERATION_FORWARD_TABLE[TargetPlatform.ESPDL_H_PRE_INT16] = ESPDL_QUANT_BACKEND_TABLE


def _tabled(forward: Callable[..., Any], exponent: int) -> Callable[..., Any]:
    def run(op: Operation, values: Sequence[Tensor | None], *arguments: Any, **options: Any) -> Any:
        # esp-ppq simulates int16 in double precision, but the gates are float32 on the chip.
        single = [value.float() if value is not None else None for value in values]
        with TableMode(exponent):
            results = forward(op, single, *arguments, **options)
        dtype = values[0].dtype if values[0] is not None else torch.float32
        return tuple(result.to(dtype) for result in results)

    return run


def _cells(graph: BaseGraph) -> Iterator[Variable]:
    """The cell state of every LSTM, before and after it."""
    for operation in graph.operations.values():
        if operation.type == "LSTM":
            yield from (*operation.inputs[_CELL_IN : _CELL_IN + 1], *operation.outputs[_CELL_OUT : _CELL_OUT + 1])


def _cell_operations(graph: BaseGraph) -> Iterator[Operation]:
    for cell in _cells(graph):
        others = [cell.source_op, *cell.dest_ops]
        yield from (other for other in others if other is not None and other.type in _PASSING)


def cell_operations(graph: BaseGraph) -> Iterator[str]:
    """Names of the operations that only pass the cell state of an LSTM on; it is int16 in an int8 model too."""
    return (operation.name for operation in _cell_operations(graph))


def fix_cells(graph: BaseGraph) -> None:
    """Give what passes the cell state on the exponent that it has inside, so that it is kept to the bit."""
    for operation in _cell_operations(graph):
        for config in (operation.input_quant_config[0], operation.output_quant_config[0]):
            root = config.dominated_by
            # Without a scale it follows the LSTM's own, which esp-ppq sets to the same later on.
            if root.scale is not None:
                root.scale = torch.full_like(root.scale, 2.0**LSTM_QUANT_EXPONENT)
