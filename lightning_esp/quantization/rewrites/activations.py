"""PRelu: with one slope it is a LeakyRelu, which ESP-DL has in int16 too; with one per channel, ESP-DL asserts."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from lightning_esp.quantization.job import Array
from lightning_esp.quantization.rewrites.graph import Graph


def fix_slopes(graph: Graph) -> None:
    """Make a LeakyRelu of each PRelu whose slopes are all one number, and products of any other."""
    for node in graph.nodes:
        slopes = graph.constant(node.input[1]) if node.op_type == "PRelu" else None
        if slopes is None or not slopes.size:
            continue
        if (slopes == slopes.flat[0]).all():
            alpha = float(slopes.flat[0])
            graph.replace(node, [graph.make(node, "LeakyRelu", node.input[:1], node.output[0], alpha=alpha)])
        else:
            _multiply(graph, node, slopes)


def _multiply(graph: Graph, node: NodeProto, slopes: Array) -> None:
    """`slope * x + (1 - slope) * relu(x)`."""
    relu = graph.make(node, "Relu", node.input[:1])
    rest = graph.add_constant(node, (1 - slopes.astype(np.float64)).astype(np.float32), "rest")
    sloped = graph.make(node, "Mul", [node.input[0], graph.add_constant(node, slopes, "slopes")])
    upper = graph.make(node, "Mul", [relu.output[0], rest])
    graph.replace(
        node, [relu, sloped, upper, graph.make(node, "Add", [sloped.output[0], upper.output[0]], node.output[0])]
    )
