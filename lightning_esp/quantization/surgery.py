"""Cutting a quantized esp-ppq graph into stages, each a graph of its own with the same numbers."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Sequence

from esp_ppq.core import QuantizationStates, TensorQuantizationConfig
from esp_ppq.IR import BaseGraph, Operation, QuantableOperation, Variable

from lightning_esp.errors import QuantizationError


def dump_graph(graph: BaseGraph) -> bytes:
    """Serialize a graph; esp-ppq's own pickling writes links by name."""
    return pickle.dumps(graph)


def load_graph(data: bytes) -> BaseGraph:
    """Read a graph that `dump_graph` wrote, and link it again."""
    graph: BaseGraph = pickle.loads(data)
    for operation in graph.operations.values():
        operation.inputs[:] = [graph.variables[name] for name in operation.inputs]
        operation.outputs[:] = [graph.variables[name] for name in operation.outputs]
    for variable in graph.variables.values():
        variable.dest_ops[:] = [graph.operations[name] for name in variable.dest_ops]
        if variable.source_op is not None:
            variable.source_op = graph.operations[variable.source_op]
    graph._graph_inputs = {name: graph.variables[name] for name in graph._graph_inputs}
    graph._graph_outputs = {name: graph.variables[name] for name in graph._graph_outputs}
    return graph


def ancestors(graph: BaseGraph, outputs: Iterable[str], stop: Iterable[str]) -> set[str]:
    """Names of the operations that `outputs` need, not looking past the variables in `stop`."""
    barrier, found = set(stop), set()
    pending = [graph.variables[name] for name in outputs if name not in barrier]
    while pending:
        source = pending.pop().source_op
        if source is None or source.name in found:
            continue
        found.add(source.name)
        pending += [v for v in source.inputs if v.name not in barrier]
    return found


def cut(graph: BaseGraph, inputs: Sequence[str], outputs: Sequence[str]) -> BaseGraph:
    """Copy the part of a quantized graph between `inputs` and `outputs`.

    Raises:
        QuantizationError: an output needs something that is not among the inputs.
    """
    part = load_graph(dump_graph(graph))
    keep = ancestors(part, outputs, inputs)
    for operation in list(part.operations.values()):
        if operation.name not in keep:
            _remove(part, operation)
    part.inputs.clear()
    part.outputs.clear()
    for name in inputs:
        if name in part.variables:
            part.variables[name].source_op = None
            part.inputs[name] = part.variables[name]
    for name in outputs:
        part.outputs[name] = part.variables[name]
    _drop_unused(part, {*inputs, *outputs})
    _check_closed(part)
    reroot(part)
    return part


def _remove(graph: BaseGraph, operation: Operation) -> None:
    for variable in operation.inputs:
        variable.dest_ops[:] = [reader for reader in variable.dest_ops if reader is not operation]
    for variable in operation.outputs:
        variable.source_op = None
    graph.operations.pop(operation.name)


def _drop_unused(graph: BaseGraph, keep: set[str]) -> None:
    for variable in list(graph.variables.values()):
        if variable.source_op is None and not variable.dest_ops and variable.name not in keep:
            graph.variables.pop(variable.name)


def _check_closed(graph: BaseGraph) -> None:
    for variable in graph.variables.values():
        is_given = variable.is_parameter or variable.name in graph.inputs or not variable.name
        if variable.source_op is None and not is_given and variable.dest_ops:
            raise QuantizationError(
                f"tensor {variable.name!r} crosses a stage boundary without being an output of the earlier stage; "
                "return it from that stage, or merge the two stages."
            )


def _owned(graph: BaseGraph) -> list[tuple[TensorQuantizationConfig, Variable]]:
    operations = [op for op in graph.topological_sort() if isinstance(op, QuantableOperation)]
    return [pair for operation in operations for pair in operation.config_with_variable]


def reroot(graph: BaseGraph) -> None:
    """Give every config whose master left the graph a master inside it, with the same scale.

    esp-ppq copies a graph before it exports it, and asserts that each master is part of it.
    """
    owned = _owned(graph)
    inside = {id(config) for config, _ in owned}
    heirs: dict[int, TensorQuantizationConfig] = {}
    for config, _ in owned:
        root = config.dominated_by
        if id(root) in inside:
            continue
        heir = heirs.setdefault(id(root), config)
        if heir is config:
            scale, offset = root.scale, root.offset
            config._dominator = config
            config.state = QuantizationStates.ACTIVATED
            config.scale, config.offset = scale, offset
        else:
            config._dominator = heir
    for variable in graph.inputs.values():
        _activate_readers(variable)


def _activate_readers(variable: Variable) -> None:
    # A reader of a cut tensor was OVERLAPPED by its producer; without one, the reader itself must quantize.
    for operation in variable.dest_ops:
        if not isinstance(operation, QuantableOperation):
            continue
        for config, found in zip(operation.input_quant_config, operation.inputs, strict=False):
            if found is variable and config.state == QuantizationStates.OVERLAPPED:
                config.state = QuantizationStates.PASSIVE
