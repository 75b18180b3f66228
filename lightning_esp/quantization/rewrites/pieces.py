"""Products of two activations in pieces that ESP-DL's vector kernels read in one way.

The columns of the second operand are read in blocks of 16 (int8) or 8 (int16), and what is left over in another order: a
product has either whole blocks or a rest.
"""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from lightning_esp.quantization.rewrites.graph import Graph

_BLOCKS = (16, 8)


def split_products(graph: Graph) -> None:
    """Write a product of two activations with whole blocks of columns and a rest as one product for each."""
    for node in graph.nodes:
        if node.op_type == "MatMul" and graph.constant(node.input[1]) is None:
            _split(graph, node)


def _split(graph: Graph, node: NodeProto) -> None:
    shape = graph.shape(node.input[1])
    pieces = _pieces(shape[-1])
    if len(shape) < 2 or len(pieces) == 1:
        return
    nodes: list[NodeProto] = []
    for first, last in pieces:
        bounds = [
            graph.add_constant(node, np.array([value], np.int64), "bounds") for value in (first, last, len(shape) - 1)
        ]
        cut = graph.make(node, "Slice", [node.input[1], *bounds])
        nodes += [cut, graph.make(node, "MatMul", [node.input[0], cut.output[0]])]
    parts = [found.output[0] for found in nodes if found.op_type == "MatMul"]
    axis = len(graph.shape(node.output[0])) - 1
    graph.replace(node, [*nodes, graph.make(node, "Concat", parts, node.output[0], axis=axis)])


def _pieces(columns: int) -> list[tuple[int, int]]:
    """Cut columns into whole blocks of 16, a block of 8, and a rest."""
    bounds, start = [], 0
    for block in (*_BLOCKS, 1):
        width = (columns - start) // block * block
        if width:
            bounds.append((start, start + width))
            start += width
    return bounds
