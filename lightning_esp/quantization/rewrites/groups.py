"""Convolutions in groups: ESP-DL runs each of them as a depthwise one, whatever its groups are.

Depthwise is one group per channel and one output for each. Every other is written as a convolution of one group, with
zeros where a group reads nothing of the others: it computes the same sums.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from onnx import NodeProto

from lightning_esp.quantization.job import Array
from lightning_esp.quantization.rewrites.graph import Graph, attributes


def join_groups(graph: Graph) -> None:
    """Write every convolution in groups that is not depthwise as one of a single group."""
    for node in graph.nodes:
        if node.op_type in ("Conv", "ConvTranspose"):
            _join(graph, node)


def _join(graph: Graph, node: NodeProto) -> None:
    options = attributes(node)
    groups, weight = cast(int, options.pop("group", 1)), graph.constant(node.input[1])
    if groups == 1 or weight is None or weight.shape[:2] == (groups, 1):
        return
    inputs = [node.input[0], graph.add_constant(node, spread(weight, groups), "weight"), *node.input[2:]]
    graph.replace(node, [graph.make(node, node.op_type, inputs, node.output[0], group=1, **options)])  # type: ignore[arg-type]


def spread(weight: Array, groups: int) -> Array:
    """Put the filters of groups on the diagonal of a filter without groups.

    Args:
        weight: `[channels, channels of the other side / groups, *kernel]`.
        groups: how many there are.

    Returns:
        `[channels, channels of the other side, *kernel]`.
    """
    rows, columns = len(weight) // groups, weight.shape[1]
    dense = np.zeros((len(weight), columns * groups, *weight.shape[2:]), weight.dtype)
    for group in range(groups):
        own = slice(group * rows, (group + 1) * rows)
        dense[own, group * columns : (group + 1) * columns] = weight[own]
    return dense
