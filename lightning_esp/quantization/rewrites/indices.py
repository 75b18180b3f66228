"""Indices counted from the front and inside the tensor: ESP-DL reads before a tensor where ONNX would clip."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from lightning_esp.quantization.job import Array
from lightning_esp.quantization.rewrites.graph import Graph


def count_from_the_front(graph: Graph) -> None:
    """Store the bounds of every Slice inside its tensor, and the axes of every Unsqueeze as positive numbers."""
    for node in graph.nodes:
        if node.op_type == "Slice":
            _clip_bounds(graph, node)
        if node.op_type == "Unsqueeze":
            _count_axes(graph, node)


def _clip_bounds(graph: Graph, node: NodeProto) -> None:
    shape = graph.shape(node.input[0])
    starts, ends = (graph.constant(name) for name in node.input[1:3])
    stored, steps = _optional(graph, node, 3), _optional(graph, node, 4)
    if starts is None or ends is None:
        return
    axes = np.arange(len(starts)) if stored is None else stored % len(shape)
    steps = np.ones_like(starts) if steps is None else steps
    bounds = zip(starts, ends, steps, (shape[axis] for axis in axes), strict=True)
    inside = np.array([_inside(*map(int, found)) for found in bounds], np.int64)
    if (inside == np.stack([starts, ends], axis=1)).all():
        return
    for index, values in ((1, inside[:, 0]), (2, inside[:, 1])):
        node.input[index] = graph.add_constant(node, values, "bounds")


def _inside(start: int, end: int, step: int, size: int) -> tuple[int, int]:
    """The bounds counted from the front; from the back where they run backwards, since no end lies before the front."""
    first, last, _ = slice(start, end, step).indices(size)
    return (first, last) if step > 0 else (first - size, last - size)


def _optional(graph: Graph, node: NodeProto, index: int) -> Array | None:
    return graph.constant(node.input[index]) if len(node.input) > index and node.input[index] else None


def _count_axes(graph: Graph, node: NodeProto) -> None:
    axes = graph.constant(node.input[1])
    if axes is None or not (axes < 0).any():
        return
    rank = len(graph.shape(node.output[0]))
    node.input[1] = graph.add_constant(node, np.array([int(axis) % rank for axis in axes], np.int64), "axes")
