"""Tile with stored repeats (`x.repeat(1, 2, 1)`), which ESP-DL lacks, as Concat of a tensor with itself."""

from __future__ import annotations

from onnx import NodeProto

from lightning_esp.quantization.rewrites.graph import Graph


def join_tiles(graph: Graph) -> None:
    """Write every Tile with stored repeats as a Concat for each axis that is repeated."""
    for node in graph.nodes:
        repeats = graph.constant(node.input[1]) if node.op_type == "Tile" else None
        if repeats is None or graph.constant(node.input[0]) is not None:
            continue
        nodes: list[NodeProto] = []
        for axis, count in enumerate(int(value) for value in repeats):
            if count > 1:
                source = nodes[-1].output[0] if nodes else node.input[0]
                nodes.append(graph.make(node, "Concat", [source] * count, axis=axis))
        if nodes:
            nodes[-1].output[0] = node.output[0]
            graph.replace(node, nodes)
