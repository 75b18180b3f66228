"""Axis order of each tensor in the file, chosen before esp-ppq chooses it.

esp-ppq runs convolutions channels-last and leaves an input that a Concat reads as it is, so that a cached convolution
gets two Transposes around its cache. Told the layout of the cache beforehand, it needs none.
"""

from __future__ import annotations

import onnx
import torch
from esp_ppq.IR import BaseGraph, Variable
from esp_ppq.parser.espdl.espdl_typedef import ADD_LIKE_OP_SET, CONV_LAYOUT_OP_SET, OTHER_OP_SET, ExporterPatternInfo

from lightning_esp.quantization.job import Layout

# Both are remapped to whatever layout their input has.
_FOLLOWS = ("Slice", "Concat")


def plain(rank: int) -> Layout:
    """Torch's own axis order."""
    return tuple(range(rank))


def channels_last(rank: int) -> Layout:
    """The order that ESP-DL's convolutions want: NWC, or NHWC."""
    return {3: (0, 2, 1), 4: (0, 2, 3, 1)}.get(rank, plain(rank))


def preferred(graph: BaseGraph, name: str) -> Layout:
    """The layout that the nearest operator with a will of its own wants for a graph input.

    Readers come first. Where none of them has a will, as behind a branch that is only delayed and added, the operators
    whose outputs it is joined with decide.
    """
    variable = graph.variables[name]
    rank = len(variable.shape)
    for both_ways in (False, True):
        wants = _nearest_will(variable, both_ways)
        if wants is not None:
            return channels_last(rank) if wants else plain(rank)
    return plain(rank)


def _nearest_will(start: Variable, both_ways: bool) -> bool | None:
    """Tell whether the nearest operator that cares wants channels last; None where none cares."""
    seen, pending = set[str](), [*start.dest_ops]
    while pending:
        operation = pending.pop(0)
        if operation.name in seen:
            continue
        seen.add(operation.name)
        if operation.type in CONV_LAYOUT_OP_SET or operation.type == "Resize":
            return True
        if operation.type in OTHER_OP_SET and operation.type not in _FOLLOWS:
            return False
        pending += [reader for output in operation.outputs for reader in output.dest_ops]
        if both_ways:
            pending += [read.source_op for read in operation.inputs if read.source_op is not None]
    return None


def own_constants(graph: BaseGraph) -> None:
    """Give every operator its own constants where esp-ppq, or `turn_constants`, changes them once per reader."""
    for operation in list(graph.operations.values()):
        if operation.type != "Slice" and operation.type not in ADD_LIKE_OP_SET:
            continue
        for variable in list(operation.inputs):
            if variable.is_parameter and len(variable.dest_ops) > 1:
                _copy_for(graph, variable, operation)


def _copy_for(graph: BaseGraph, variable: Variable, operation: object) -> None:
    value = variable.value.clone() if isinstance(variable.value, torch.Tensor) else variable.value
    copy = graph.create_variable(value=value, is_parameter=True, dest_ops=[operation])
    inputs = operation.inputs  # type: ignore[attr-defined]
    inputs[inputs.index(variable)] = copy
    variable.dest_ops.remove(operation)


def strip_constants(model: onnx.ModelProto) -> None:
    """Take the leading axes of length 1 from the constants of Add, Mul, ..., which changes nothing by broadcasting.

    esp-ppq takes a constant of the rank of a convolution's weight, added behind it, for its bias: it flattens it, and
    leaves it so where the convolution has a bias already.
    """
    graph = model.graph
    other = {name for node in graph.node if node.op_type not in ADD_LIKE_OP_SET for name in node.input}
    for constant in graph.initializer:
        while constant.name not in other and len(constant.dims) > 1 and constant.dims[0] == 1:
            del constant.dims[0]


def turn_constants(graph: BaseGraph) -> None:
    """Bring the constants of Add, Mul, ... into the layout of the tensor that they are joined with.

    esp-ppq takes them for the same in every layout, which only a single number is: a constant per channel of a tensor
    that it has turned channels-last would meet the frames.
    """
    info = ExporterPatternInfo()
    for operation in graph.operations.values():
        if operation.type not in ADD_LIKE_OP_SET:
            continue
        layout = info.get_var_permute(operation.outputs[0].name)
        for variable in operation.inputs:
            if variable.is_parameter and layout and variable.value.ndim:
                missing = len(layout) - variable.value.ndim
                wide = variable.value.reshape((1,) * missing + tuple(variable.value.shape))
                variable.value = wide.permute(layout).contiguous()
                variable.shape = list(variable.value.shape)
