"""The order of a graph that is about to be written, and its views, as ESP-DL's memory manager needs them.

The quantized graph stays as it is: reordering and views change no value.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod

import torch
from esp_ppq.core import DataType
from esp_ppq.IR import BaseGraph, Operation, Variable
from esp_ppq.parser.espdl.espdl_typedef import QUANT_OP_SET, EspQuantType, ExporterPatternInfo

from lightning_esp.espdl import VIEW, Program, Step, mend

_WIDE = {
    DataType.INT16: 2,
    DataType.UINT16: 2,
    DataType.FP32: 4,
    DataType.INT32: 4,
    DataType.UINT32: 4,
    DataType.INT64: 8,
    DataType.FP64: 8,
}

_QUANT_TYPES = {DataType.INT8: EspQuantType.S8, DataType.INT16: EspQuantType.S16}


def keep_values(graph: BaseGraph) -> None:
    """Reorder a prepared graph, and add views to it, so that ESP-DL overwrites nothing that is read later.

    Args:
        graph: the graph; every layout, type and exponent is settled. Its operations are written in the order found here.
    """
    before = program_of_graph(graph)
    program = mend(before)
    if program is before:
        return
    known = [step for step in program.steps if step.name in graph.operations]
    _rename_outputs(graph, known)
    for step in known:
        _link(graph, step)
    for step in program.steps:
        if step.name not in graph.operations:
            _add_view(graph, step)
    order = [graph.operations[step.name] for step in program.steps]
    # The exporter asks for an order of its own each time that it goes through the graph.
    graph.topological_sort = lambda: order


def program_of_graph(graph: BaseGraph) -> Program:
    """Read the program of a prepared graph."""
    steps = tuple(
        Step(op.name, op.type, _names(op.inputs), tuple(variable.name for variable in op.outputs if variable.name))
        for op in graph.topological_sort()
    )
    tensors = [variable for variable in graph.variables.values() if variable.name and not variable.is_parameter]
    sizes = {tensor.name: prod(tensor.shape or ()) * _WIDE.get(tensor.dtype, 1) for tensor in tensors}
    return Program(steps, tuple(graph.inputs), tuple(graph.outputs), sizes)


def _names(variables: Sequence[Variable]) -> tuple[str, ...]:
    return tuple(variable.name for variable in variables if variable.name and not variable.is_parameter)


def _rename_outputs(graph: BaseGraph, steps: Iterable[Step]) -> None:
    """Restore the program's name of each graph output that is made anew at the end."""
    for step in steps:
        operation = graph.operations[step.name]
        made = [variable for variable in operation.outputs if variable.name]
        for old, name in zip(made, step.outputs, strict=True):
            if old.name != name:
                operation.outputs[operation.outputs.index(old)] = kept = _twin(graph, old, name)
                kept.source_op, old.source_op = operation, None
                for reader in list(old.dest_ops):
                    _read(reader, old, kept)


def _link(graph: BaseGraph, step: Step) -> None:
    """Make an operation read what its step reads; one that became another kind of view stores its shape."""
    operation = graph.operations[step.name]
    read = [variable for variable in operation.inputs if variable.name and not variable.is_parameter]
    for old, name in zip(read, step.inputs, strict=True):
        if old.name != name:
            _read(operation, old, graph.variables[name] if name in graph.variables else _twin(graph, old, name))
    if operation.type != step.type or (step.type == VIEW and read and read[0].name != step.inputs[0]):
        _become_view(graph, operation)


def _add_view(graph: BaseGraph, step: Step) -> None:
    source, name = graph.variables[step.inputs[0]], step.outputs[0]
    output = graph.variables[name] if name in graph.variables else _twin(graph, source, name)
    operation = graph.create_operation(VIEW, step.name, inputs=[source], outputs=[output])
    _become_view(graph, operation)


def _become_view(graph: BaseGraph, operation: Operation) -> None:
    """Store the shape of the output, as it stands in the file, whatever the input's is."""
    for constant in operation.inputs[1:]:
        constant.dest_ops.remove(operation)
        if not constant.dest_ops:
            graph.variables.pop(constant.name)
    del operation.inputs[1:]
    shape = torch.tensor(_file_shape(operation.outputs[0]), dtype=torch.int64)
    graph.create_variable(value=shape, is_parameter=True, dest_ops=[operation])
    operation._type = VIEW
    operation.attributes.clear()
    operation.attributes.update(allowzero=0, quant_type=_QUANT_TYPES.get(operation.outputs[0].dtype, EspQuantType.F32))


def _file_shape(variable: Variable) -> list[int]:
    """The shape that ESP-DL computes; esp-ppq notes another one behind the Transposes that it adds for its layouts."""
    source = variable.source_op
    if source is not None and source.type in ("Transpose", *QUANT_OP_SET):
        shape = _file_shape(source.inputs[0])
        return [shape[axis] for axis in source.attributes.get("perm", range(len(shape)))]
    return [variable.shape[axis] for axis in ExporterPatternInfo().get_var_permute(variable.name)]


def _twin(graph: BaseGraph, variable: Variable, name: str) -> Variable:
    """A tensor like another one, which nothing makes or reads yet."""
    info, shape = ExporterPatternInfo(), _file_shape(variable)
    twin = Variable(name, shape=shape, dtype=variable.dtype)
    graph.append_variable(twin)
    info.add_var_permute(name, list(range(len(shape))))
    info.add_var_exponents(name, info.get_var_exponents(variable.name, [0]))
    return twin


def _read(operation: Operation, old: Variable, new: Variable) -> None:
    for index, variable in enumerate(operation.inputs):
        if variable is old:
            operation.inputs[index] = new
            old.dest_ops.remove(operation)
            new.dest_ops.append(operation)
