"""Frames and bins repeated in int16, for which ESP-DL's Resize does nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import NodeProto

from lightning_esp.quantization.rewrites.graph import Graph, attributes

_CONVOLVED = (3, 4)


def repeat_by_kernels(model: onnx.ModelProto, is_wide: Callable[[str], bool]) -> onnx.ModelProto:
    """Write each Resize in int16 that repeats its elements as a transposed convolution by ones, channel by channel.

    Args:
        model: a model whose shapes are known.
        is_wide: whether the operator of this name is int16.

    Returns:
        The same model, edited in place.
    """
    graph = Graph(model)
    for node in graph.nodes:
        if node.op_type == "Resize" and is_wide(node.name):
            _repeat(graph, node)
    graph.prune()
    return model


def _repeat(graph: Graph, node: NodeProto) -> None:
    before, after = graph.shape(node.input[0]), graph.shape(node.output[0])
    options = attributes(node)
    known = options.get("mode"), options.get("coordinate_transformation_mode"), options.get("nearest_mode")
    times = [size // length for size, length in zip(after, before, strict=True)]
    whole = [length * count for length, count in zip(before, times, strict=True)] == list(after)
    if known != ("nearest", "asymmetric", "floor") or len(before) not in _CONVOLVED or not whole or times[:2] != [1, 1]:
        return
    kernel = times[2:]
    weight = graph.add_constant(node, np.ones((before[1], 1, *kernel), np.float32), "weight")
    sizes = {"kernel_shape": kernel, "strides": kernel, "dilations": [1] * len(kernel), "pads": [0] * 2 * len(kernel)}
    inputs = [node.input[0], weight]
    graph.replace(node, [graph.make(node, "ConvTranspose", inputs, node.output[0], group=before[1], **sizes)])
