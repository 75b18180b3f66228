"""Functions of one int8 value, however they are written, as one look-up table of 256 entries each."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import onnx
from onnx import NodeProto

from lightning_esp.quantization.functions import COMPARISONS, FUNCTIONS, PROVED, Expression
from lightning_esp.quantization.rewrites.graph import Graph, attributes


@dataclass(frozen=True)
class _Pointwise:
    """A tensor as a function of another one of the same shape.

    Args:
        root: the tensor that it is a function of.
        expression: the function.
        proved: every operator in it has an integer form of its own.
    """

    root: str
    expression: Expression
    proved: bool


def tabulate(model: onnx.ModelProto, keep: Callable[[str], bool]) -> onnx.ModelProto:
    """Make one look-up of each function of one tensor that holds an operator without an integer form of its own.

    Args:
        model: a model whose shapes are known.
        keep: whether the operator of this name stays as it is.

    Returns:
        The same model, edited in place.
    """
    graph, found = Graph(model), dict[str, _Pointwise]()
    for node in graph.nodes:
        if node.op_type in FUNCTIONS and not keep(node.name):
            pointwise = _follow(graph, node, found)
            if pointwise is not None:
                found[node.output[0]] = pointwise
    for node in graph.nodes:
        pointwise = found.get(node.output[0])
        if pointwise is not None and not pointwise.proved and _is_read_outside(graph, node, found):
            text = json.dumps(pointwise.expression)
            graph.replace(node, [graph.make(node, "LUT", [pointwise.root], node.output[0], function=text)])
    _remove_unread(graph)
    return model


def _follow(graph: Graph, node: NodeProto, found: dict[str, _Pointwise]) -> _Pointwise | None:
    arguments: list[Expression | float | None] = []
    sources: list[_Pointwise] = []
    for name in node.input:
        value = graph.constant(name) if name else None
        if not name:
            arguments.append(None)
        elif value is not None:
            if value.size != 1:
                return None
            arguments.append(float(value.reshape(-1)[0]))
        else:
            # What crosses a stage is read as it is there.
            inside = found.get(name) if name not in graph.outputs else None
            sources.append(inside or _Pointwise(name, "x", True))
            arguments.append(sources[-1].expression)
    if len({source.root for source in sources}) != 1 or graph.shape(node.output[0]) != graph.shape(sources[0].root):
        return None
    options = {name: value for name, value in attributes(node).items() if isinstance(value, int | float | str)}
    proved = node.op_type in PROVED and all(source.proved for source in sources)
    return _Pointwise(sources[0].root, [node.op_type, options, *arguments], proved)


def _is_read_outside(graph: Graph, node: NodeProto, found: dict[str, _Pointwise]) -> bool:
    name = node.output[0]
    if node.op_type in COMPARISONS:
        return False
    if name in graph.outputs:
        return True
    root = found[name].root
    return any(reader.output[0] not in found or found[reader.output[0]].root != root for reader in graph.readers(name))


def _remove_unread(graph: Graph) -> None:
    for node in reversed(graph.nodes):
        if not any(name in graph.outputs or graph.readers(name) for name in node.output):
            graph.replace(node, [])
