"""Normalizations: esp-ppq reads a batch norm only where it folds it into the layer before, a layer norm over one axis."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from lightning_esp.quantization.job import Array
from lightning_esp.quantization.rewrites.graph import Graph, attributes

_FOLDED_INTO = ("Conv", "ConvTranspose", "Gemm")
_CONVOLVED = (3, 4)


def scale_channels(graph: Graph) -> None:
    """Turn each batch norm that no layer takes in into a scale and a shift per channel."""
    for node in graph.nodes:
        if node.op_type == "BatchNormalization" and not _is_folded(graph, node):
            _scale(graph, node)


def _is_folded(graph: Graph, node: NodeProto) -> bool:
    source = graph.source(node.input[0])
    if source is None or source.op_type not in _FOLDED_INTO or source.output[0] in graph.outputs:
        return False
    return len(graph.readers(source.output[0])) == 1


def _scale(graph: Graph, node: NodeProto) -> None:
    gain, offset = _affine(graph, node)
    rank = len(graph.shape(node.input[0]))
    if rank in _CONVOLVED:
        # One rounding, and a bias of 32 bits, where Mul and Add round twice and keep their constants in 8 bits.
        ones = [1] * (rank - 2)
        weight = graph.add_constant(node, gain.reshape(-1, 1, *ones), "weight")
        inputs = [node.input[0], weight, graph.add_constant(node, offset, "bias")]
        # ESP-DL reads all of these from the file, and crashes where one is left out.
        options = {"kernel_shape": ones, "strides": ones, "dilations": ones, "pads": [0] * 2 * len(ones)}
        graph.replace(node, [graph.make(node, "Conv", inputs, node.output[0], group=len(gain), **options)])
        return
    shape = (-1, *[1] * (rank - 2))
    product = graph.make(node, "Mul", [node.input[0], graph.add_constant(node, gain.reshape(shape))])
    shifted = [product.output[0], graph.add_constant(node, offset.reshape(shape))]
    graph.replace(node, [product, graph.make(node, "Add", shifted, node.output[0])])


def _affine(graph: Graph, node: NodeProto) -> tuple[Array, Array]:
    """Scale and shift per channel, rounded once."""
    values = [graph.constant(name) for name in node.input[1:5]]
    assert all(value is not None for value in values)
    weight, bias, mean, variance = (np.asarray(value, np.float64) for value in values)
    epsilon = attributes(node).get("epsilon", 1e-5)
    assert isinstance(epsilon, float)
    gain = weight / np.sqrt(variance + epsilon)
    return gain.astype(np.float32), (bias - mean * gain).astype(np.float32)


def flatten_norms(graph: Graph) -> None:
    """Let each layer norm run over one axis: of several, esp-ppq multiplies by the weights of the first frames."""
    for node in graph.nodes:
        if node.op_type != "LayerNormalization":
            continue
        shape, options = graph.shape(node.input[0]), attributes(node)
        axis = _first_axis(options, len(shape))
        if axis < len(shape) - 1:
            _flatten(graph, node, shape, axis, options)


def _first_axis(options: dict[str, object], rank: int) -> int:
    axis = options.get("axis", -1)
    assert isinstance(axis, int)
    return axis % rank


def _flatten(graph: Graph, node: NodeProto, shape: tuple[int, ...], axis: int, options: dict[str, object]) -> None:
    # The batch is left open.
    flat, whole = (np.array([-1, *rest]) for rest in ((*shape[1:axis], int(np.prod(shape[axis:]))), shape[1:]))
    affine = [graph.constant(name) for name in node.input[1:]]
    values = [graph.add_constant(node, value.reshape(-1), "affine") for value in affine if value is not None]
    before = graph.make(node, "Reshape", [node.input[0], graph.add_constant(node, flat, "shape")])
    epsilon = options.get("epsilon", 1e-5)
    assert isinstance(epsilon, float)
    norm = graph.make(node, "LayerNormalization", [before.output[0], *values], axis=-1, epsilon=epsilon)
    inputs = [norm.output[0], graph.add_constant(node, whole, "shape")]
    graph.replace(node, [before, norm, graph.make(node, "Reshape", inputs, node.output[0])])
