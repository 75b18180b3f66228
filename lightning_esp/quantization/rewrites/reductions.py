"""Reductions as ESP-DL knows them: over runs of axes that alternate with runs of kept ones four times at most."""

from __future__ import annotations

from itertools import groupby

import numpy as np
from onnx import NodeProto

from lightning_esp.quantization.rewrites.graph import Graph, attributes

_REDUCTIONS = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin")
# ESP-DL merges neighbouring axes of one kind, and computes nothing for more runs than this.
LARGEST_RUNS = 4


def split_reductions(graph: Graph) -> None:
    """Write a reduction over too many runs of axes as several, the last run first."""
    for node in graph.nodes:
        if node.op_type in _REDUCTIONS:
            _split(graph, node)


def _split(graph: Graph, node: NodeProto) -> None:
    rank = len(graph.shape(node.input[0]))
    axes = _axes(graph, node, rank)
    nodes: list[NodeProto] = []
    source, keep = node.input[0], bool(attributes(node).get("keepdims", 1))
    while _runs(axes, rank) > LARGEST_RUNS:
        last = _last_run(axes)
        nodes.append(_reduce(graph, node, source, last, keep))
        source, axes = nodes[-1].output[0], axes - last
        # Without the axes that are gone, those before them keep their numbers.
        rank -= 0 if keep else len(last)
    if nodes:
        graph.replace(node, [*nodes, _reduce(graph, node, source, axes, keep, node.output[0])])


def _axes(graph: Graph, node: NodeProto, rank: int) -> set[int]:
    stored = graph.constant(node.input[1]) if len(node.input) > 1 and node.input[1] else None
    if stored is not None and stored.size:
        return {int(axis) % rank for axis in stored.reshape(-1)}
    return set() if attributes(node).get("noop_with_empty_axes", 0) else set(range(rank))


def _runs(axes: set[int], rank: int) -> int:
    return len(list(groupby(axis in axes for axis in range(rank))))


def _last_run(axes: set[int]) -> set[int]:
    last = max(axes)
    run = {last}
    while last - 1 in axes:
        last -= 1
        run.add(last)
    return run


def _reduce(graph: Graph, node: NodeProto, source: str, axes: set[int], keep: bool, output: str = "") -> NodeProto:
    stored = graph.add_constant(node, np.array(sorted(axes), np.int64), "axes")
    return graph.make(node, node.op_type, [source, stored], output, keepdims=int(keep))
