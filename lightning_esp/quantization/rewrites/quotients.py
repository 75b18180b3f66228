"""Quotients: where an operand has one element, ESP-DL makes a table of the first that it meets in int8, and keeps it."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from lightning_esp.quantization.rewrites.graph import Graph


def spread_operands(graph: Graph) -> None:
    """Let each operand of a quotient that is computed, and has one element, have as many as the other one.

    A product with ones copies the integers as they are.
    """
    for node in graph.nodes:
        if node.op_type == "Div":
            _spread(graph, node)


def _spread(graph: Graph, node: NodeProto) -> None:
    shapes = [graph.shape(name) for name in node.input]
    alone = [i for i in (0, 1) if np.prod(shapes[i]) == 1 and graph.constant(node.input[i]) is None]
    whole = graph.shape(node.output[0])
    if not alone or not whole:
        return
    # A quotient of one element is computed twice, and taken once.
    wide = whole if np.prod(whole) > 1 else (*whole[:-1], 2)
    ones = graph.add_constant(node, np.ones(wide, np.float32), "ones")
    spread = {i: graph.make(node, "Mul", [node.input[i], ones]) for i in alone}
    inputs = [spread[i].output[0] if i in spread else node.input[i] for i in (0, 1)]
    if wide == whole:
        graph.replace(node, [*spread.values(), graph.make(node, "Div", inputs, node.output[0])])
        return
    quotient = graph.make(node, "Div", inputs)
    bounds = [graph.add_constant(node, np.array([n]), "bound") for n in (0, 1, len(whole) - 1)]
    first = graph.make(node, "Slice", [quotient.output[0], *bounds], node.output[0])
    graph.replace(node, [*spread.values(), quotient, first])
