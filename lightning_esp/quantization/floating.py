"""A quantized graph of esp-ppq without its quantization: what esp-ppq takes the model for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import torch
from esp_ppq.core import TargetPlatform
from esp_ppq.executor import TorchExecutor
from esp_ppq.IR import BaseGraph, QuantableOperation
from torch import Tensor

from lightning_esp.quantization.batches import takes_batches
from lightning_esp.quantization.job import Array, Suspect
from lightning_esp.quantization.reference import run_reference
from lightning_esp.quantization.surgery import load_graph

# They read their own quantization while they compute, whatever its state, so float needs another implementation.
_INTEGER_KERNELS = ("GRU", "LSTM")
# Where esp-ppq's table for an int16 operation notes what it is a table of.
_TABLE_OF = "original_op_type"


def without_quantization(graph: BaseGraph) -> BaseGraph:
    """Switch all quantization off, in place."""
    for operation in graph.operations.values():
        if isinstance(operation, QuantableOperation):
            switch_off(operation)
            if operation.type in _INTEGER_KERNELS:
                operation.platform = TargetPlatform.FP32
    return graph


def switch_off(operation: QuantableOperation) -> None:
    """Let an operation compute in float; one that reads a table computes the function that the table is of."""
    operation.dequantize()
    operation.type = operation.attributes.get(_TABLE_OF, operation.type)


def switch_on(operation: QuantableOperation) -> None:
    """Undo `switch_off`."""
    operation.restore_quantize_state()
    if _TABLE_OF in operation.attributes:
        operation.type = "LUT"


def compute_float(
    graph: bytes, outputs: Sequence[str], windows: Sequence[Mapping[str, Array]]
) -> list[dict[str, Array]]:
    """Run windows through a graph without quantization, each from the state that it comes with.

    Args:
        graph: a pickled quantized graph.
        outputs: tensors to return for each window.
        windows: inputs and caches of each window in torch's layout, batch in front.

    Returns:
        The outputs of each window; an output that the graph has lost is missing.
    """
    floating = without_quantization(load_graph(graph))
    executor = TorchExecutor(graph=floating, device="cpu")
    wanted = [name for name in outputs if name in floating.variables]
    steps = [{name: torch.from_numpy(np.ascontiguousarray(v)) for name, v in window.items()} for window in windows]
    batched = takes_batches(executor, steps[0])
    return [_compute(executor, wanted, step, batched) for step in steps]


def _compute(
    executor: TorchExecutor, wanted: Sequence[str], step: Mapping[str, Tensor], batched: bool
) -> dict[str, Array]:
    count = len(next(iter(step.values())))
    rows = [step] if batched else [{name: v[row : row + 1] for name, v in step.items()} for row in range(count)]
    found = [executor.forward(dict(row), output_names=list(wanted)) for row in rows]
    return {name: torch.cat(values).numpy() for name, values in zip(wanted, zip(*found, strict=True), strict=True)}


def find_first_difference(
    graph: bytes, exported: bytes, window: Mapping[str, Array], tolerance: float
) -> Suspect | None:
    """Compare a graph without quantization, tensor by tensor, with an ONNX file in the interpreter of the onnx package.

    Args:
        graph: a pickled quantized graph.
        exported: the file, whose tensors have the same names.
        window: inputs and caches of one window, batch 1.
        tolerance: what may differ, relative to the largest value of the tensor.

    Returns:
        The first tensor that differs in the order of computation; None where those that both have agree.
    """
    floating = without_quantization(load_graph(graph))
    reference = run_reference(onnx.load_from_string(exported), window)
    executor = TorchExecutor(graph=floating, device="cpu")
    order = [(op, out.name) for op in executor._executing_order for out in op.outputs if out.name in reference]
    names = [name for _, name in order]
    values = executor.forward({n: torch.from_numpy(v) for n, v in window.items()}, output_names=names)
    for (operation, name), value in zip(order, values, strict=True):
        if _differ(value.numpy(), reference[name], tolerance):
            return Suspect(operation.name, operation.type, name)
    return None


def _differ(found: Array, expected: Array, tolerance: float) -> bool:
    if found.shape != expected.shape:
        return True
    return bool(np.abs(found - expected).max(initial=0) > tolerance * np.abs(expected).max(initial=0))
