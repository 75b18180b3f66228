"""Operands of Add, Sub and Concat, kept in the range of the result: an optimisation pass of esp-ppq.

ESP-DL adds and joins integers of one exponent. esp-ppq gives the operands that of the result, which clips them where the
result is smaller than what it is made of: `y - 0.9 * y`, or a sum of which a ReLU keeps little.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from esp_ppq.core import QuantizationStates, TensorQuantizationConfig
from esp_ppq.executor import TorchExecutor
from esp_ppq.IR import BaseGraph, Operation, QuantableOperation
from esp_ppq.quantization.optim import QuantizationOptimizationPass
from torch import Tensor

from lightning_esp.quantization.floating import without_quantization
from lightning_esp.quantization.surgery import dump_graph, load_graph

_ALIGNED = ("Add", "Sub", "Concat")
_OFF = (QuantizationStates.FP32, QuantizationStates.SOI)
# Enough to tell scales apart that differ by a factor of two.
_BATCHES = 8
# Rounding of a coarser result reaches what comes behind more evenly than a few clipped values do, so these must weigh more.
_GAIN = 4


class OperandPass(QuantizationOptimizationPass):  # type: ignore[misc]
    """Coarsens a result whose operands are larger, as far as makes it more exact on the calibration windows.

    It must run after calibration and before alignment.
    """

    def __init__(self) -> None:
        super().__init__("lightning_esp: keep operands in range")

    def optimize(self, graph: BaseGraph, dataloader: Iterable[Mapping[str, Tensor]], **_: Any) -> None:
        """Settle the scale of each such result in the order of computation, since the next one reads it."""
        aligned = [operation for operation in graph.topological_sort() if _configs(operation)]
        if not any(_has_larger_operands(operation) for operation in aligned):
            return
        names = sorted({v.name for op in aligned for v in (*op.inputs, *_fused(op).outputs) if not v.is_parameter})
        values, needs = _compute(graph, names, dataloader), dict[int, float]()
        for operation in aligned:
            result, *operands = _configs(operation)
            # Alignment gives a result the scale of the only sum that reads it, and with it the operands of both.
            need = max(needs.get(id(config.dominated_by), 0.0) for config in operands)
            root, largest = result.dominated_by, max(float(config.scale) for config in operands)
            root.scale = root.scale.clamp(min=need)
            if _has_larger_operands(operation):
                _settle(operation, values)
            needs[id(root)] = min(largest, float(root.scale))


def _has_larger_operands(operation: Operation) -> bool:
    configs = _configs(operation)
    return bool(configs) and max(float(c.scale) for c in configs[1:]) > float(configs[0].scale)


def _configs(operation: Operation) -> list[TensorQuantizationConfig]:
    """The config of the result, then those of the operands; empty where one of them has no scale of its own."""
    if operation.type not in _ALIGNED or not isinstance(operation, QuantableOperation):
        return []
    if operation.type == "Concat" and any(variable.is_parameter for variable in operation.inputs):
        return []
    found = [operation.output_quant_config[0], *operation.input_quant_config]
    usable = all(c.state not in _OFF and c.scale is not None and c.scale.numel() == 1 for c in found)
    return found if usable and len({config.num_of_bits for config in found}) == 1 else []


def _fused(operation: Operation) -> Operation:
    """The operator itself, or the ReLU or Clip behind it that shares the scale of its result."""
    readers = operation.outputs[0].dest_ops
    fused = len(readers) == 1 and readers[0].type in ("Relu", "Clip") and isinstance(readers[0], QuantableOperation)
    shared = fused and readers[0].output_quant_config[0].dominated_by is operation.output_quant_config[0].dominated_by
    return readers[0] if shared else operation


def _compute(graph: BaseGraph, names: list[str], batches: Iterable[Mapping[str, Tensor]]) -> list[dict[str, Tensor]]:
    """Float values of tensors on some of the calibration windows."""
    executor = TorchExecutor(graph=without_quantization(load_graph(dump_graph(graph))), device="cpu")
    known = list(batches)
    chosen = known[:: max(1, len(known) // _BATCHES)]
    found = [executor.forward(dict(batch), output_names=names) for batch in chosen]
    return [{name: v.double() for name, v in zip(names, values, strict=True)} for values in found]


def _settle(operation: QuantableOperation, batches: Iterable[Mapping[str, Tensor]]) -> None:
    root = operation.output_quant_config[0].dominated_by
    errors = dict.fromkeys(_candidates(operation), 0.0)
    for values in batches:
        operands = [v.value.double() if v.is_parameter else values[v.name] for v in operation.inputs]
        expected = values[_fused(operation).outputs[0].name]
        for scale in errors:
            result = _combine(operation, [_round(value, scale, root) for value in operands])
            found = _activate(operation, _round(result, scale, root))
            errors[scale] += float((found - expected).square().sum())
    best = min(errors, key=lambda scale: errors[scale])
    if errors[best] * _GAIN <= errors[min(errors)]:
        root.scale = torch.full_like(root.scale, best)


def _candidates(operation: QuantableOperation) -> Iterator[float]:
    result, *operands = (float(config.scale) for config in _configs(operation))
    while result <= max(operands):
        yield result
        result *= 2


def _round(value: Tensor, scale: float, config: TensorQuantizationConfig) -> Tensor:
    return (value / scale + 0.5).floor().clamp(config.quant_min, config.quant_max) * scale


def _combine(operation: Operation, operands: Sequence[Tensor]) -> Tensor:
    if operation.type == "Concat":
        return torch.cat(list(operands), dim=operation.attributes["axis"])
    return operands[0] + operands[1] if operation.type == "Add" else operands[0] - operands[1]


def _activate(operation: Operation, value: Tensor) -> Tensor:
    fused = _fused(operation)
    if fused is operation:
        return value
    low, high = (v.value for v in fused.inputs[1:3]) if fused.type == "Clip" else (torch.zeros(()), None)
    value = value if low is None else torch.maximum(value, low.double())
    return value if high is None else torch.minimum(value, high.double())
