"""Gather with stored indices (`x[:, :, t]`) as slices of its tensor, which every party moves without computing."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from lightning_esp.quantization.job import Array
from lightning_esp.quantization.rewrites.graph import Graph, attributes


def slice_gathers(graph: Graph) -> None:
    """Write every Gather with stored indices as a Slice, or as a Concat of some; its shape is a Reshape behind it."""
    for node in graph.nodes:
        indices = graph.constant(node.input[1]) if node.op_type == "Gather" else None
        if indices is not None and graph.constant(node.input[0]) is None:
            _slice(graph, node, indices)


def _slice(graph: Graph, node: NodeProto, indices: Array) -> None:
    shape, options = graph.shape(node.input[0]), attributes(node)
    axis = int(str(options.get("axis", 0))) % len(shape)
    found = np.atleast_1d(indices).reshape(-1) % shape[axis]
    nodes = [_cut(graph, node, axis, *run) for run in _runs([int(index) for index in found])]
    if len(nodes) > 1:
        nodes.append(graph.make(node, "Concat", [cut.output[0] for cut in nodes], axis=axis))
    if indices.ndim != 1:
        after = (*shape[:axis], *indices.shape, *shape[axis + 1 :])
        wanted = graph.add_constant(node, np.array(after, np.int64), "shape")
        nodes.append(graph.make(node, "Reshape", [nodes[-1].output[0], wanted]))
    nodes[-1].output[0] = node.output[0]
    graph.replace(node, nodes)


def _runs(indices: list[int]) -> list[tuple[int, int, int]]:
    """Cut indices into (first, last, step) with positive steps, each run as long as possible."""
    runs: list[tuple[int, int, int]] = []
    for index in indices:
        first, last, step = runs[-1] if runs else (0, 0, 0)
        if runs and index > last and (index - last == step or first == last):
            runs[-1] = (first, index, index - last)
        else:
            runs.append((index, index, 1))
    return runs


def _cut(graph: Graph, node: NodeProto, axis: int, first: int, last: int, step: int) -> NodeProto:
    bounds = [
        graph.add_constant(node, np.array([value], np.int64), "bounds") for value in (first, last + 1, axis, step)
    ]
    return graph.make(node, "Slice", [node.input[0], *bounds])
