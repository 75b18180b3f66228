"""Products of a tensor with a stored matrix: a 1x1 convolution, or a MatMul whose second factor is the matrix.

ESP-DL packs the second factor of a MatMul when the file is written, so a stored first factor would be taken for an
activation, and it has no Einsum.
"""

from __future__ import annotations

from math import prod

import numpy as np
from onnx import NodeProto

from lightning_esp.quantization.job import Array
from lightning_esp.quantization.rewrites.graph import Graph, attributes


def store_second(graph: Graph) -> None:
    """Write `W @ x`, and an Einsum of one tensor and one stored one, so that what is stored stands second."""
    for node in graph.nodes:
        if node.op_type == "MatMul" and graph.constant(node.input[1]) is None:
            matrix = graph.constant(node.input[0])
            rank = len(graph.shape(node.input[1]))
            if matrix is not None and matrix.size == prod(matrix.shape[-2:]) and 1 < matrix.ndim <= rank:
                rest = "abcdefgh"[: rank - 2]
                _multiply(
                    graph, node, node.input[1], (f"{rest}yz", "xy", f"{rest}xz"), matrix.reshape(matrix.shape[-2:])
                )
        if node.op_type == "Einsum":
            _sum(graph, node)


def _sum(graph: Graph, node: NodeProto) -> None:
    equation = attributes(node).get("equation")
    stored = [graph.constant(name) for name in node.input]
    if not isinstance(equation, str) or len(stored) != 2 or sum(value is None for value in stored) != 1:
        return
    left, _, out = equation.replace(" ", "").partition("->")
    letters = left.split(",")
    at = 0 if stored[0] is not None else 1
    matrix = stored[at]
    assert matrix is not None
    moving, fixed = letters[1 - at], letters[at]
    summed, new = [c for c in fixed if c not in out], [c for c in fixed if c in out]
    distinct = all(len(set(text)) == len(text) for text in (*letters, out))
    if distinct and not summed and out == moving:
        _scale(graph, node, node.input[1 - at], (moving, fixed), matrix)
        return
    plain = (
        set(out) == (set(moving) - set(summed)) | set(new) and not set(new) & set(moving) and set(summed) <= set(moving)
    )
    if plain and summed and moving[0] == out[0] and distinct:
        _multiply(graph, node, node.input[1 - at], (moving, fixed, out), matrix)


def _scale(graph: Graph, node: NodeProto, x: str, letters: tuple[str, str], factor: Array) -> None:
    """A product without a sum, `bct,c->bct`: the factor broadcasts."""
    moving, fixed = letters
    turned = factor.transpose([fixed.index(c) for c in moving if c in fixed])
    sizes = dict(zip(fixed, factor.shape, strict=True))
    wide = graph.add_constant(node, turned.reshape([sizes.get(c, 1) for c in moving]), "factor")
    graph.replace(node, [graph.make(node, "Mul", [x, wide], node.output[0])])


def _multiply(graph: Graph, node: NodeProto, x: str, equation: tuple[str, str, str], matrix: Array) -> None:
    moving, fixed, out = equation
    summed, new = [c for c in moving if c in fixed], [c for c in out if c in fixed]
    order = [fixed.index(c) for c in (*summed, *new)]
    turned = matrix.transpose(order)
    square = np.ascontiguousarray(turned.reshape(prod(turned.shape[: len(summed)]), -1))
    if len(moving) in (3, 4) and summed == [moving[1]] and new == [out[1]] and moving[2:] == out[2:]:
        _convolve(graph, node, x, square)
        return
    kept = [c for c in moving if c not in summed]
    shape = dict(zip(moving, graph.shape(x), strict=True)) | dict(zip(fixed, matrix.shape, strict=True))
    steps = _Steps(graph, node, x)
    steps.transpose([moving.index(c) for c in (*kept, *summed)])
    if len(summed) > 1:
        steps.append("Reshape", np.array([-1, *(shape[c] for c in kept[1:]), square.shape[0]]))
    steps.append("MatMul", square)
    if len(new) != 1:
        steps.append("Reshape", np.array([-1, *(shape[c] for c in (*kept[1:], *new))]))
    steps.transpose([[*kept, *new].index(c) for c in out])
    steps.finish()


def _convolve(graph: Graph, node: NodeProto, x: str, square: Array) -> None:
    ones = [1] * (len(graph.shape(x)) - 2)
    weight = graph.add_constant(node, square.T.reshape(*square.T.shape, *ones), "weight")
    options = {"kernel_shape": ones, "strides": ones, "dilations": ones, "pads": [0] * 2 * len(ones)}
    graph.replace(node, [graph.make(node, "Conv", [x, weight], node.output[0], group=1, **options)])


class _Steps:
    """A row of nodes in the place of one, the last of which writes what that wrote."""

    def __init__(self, graph: Graph, node: NodeProto, x: str) -> None:
        self._graph, self._node, self._last = graph, node, x
        self._nodes: list[NodeProto] = []

    def append(self, kind: str, constant: Array) -> None:
        """Add a node that reads the one before and a constant."""
        self._add(self._graph.make(self._node, kind, [self._last, self._graph.add_constant(self._node, constant)]))

    def transpose(self, order: list[int]) -> None:
        """Bring the axes into an order, where they are in another."""
        if order != sorted(order):
            self._add(self._graph.make(self._node, "Transpose", [self._last], perm=order))

    def _add(self, node: NodeProto) -> None:
        self._nodes.append(node)
        self._last = node.output[0]

    def finish(self) -> None:
        """Put them in the graph."""
        self._nodes[-1].output[0] = self._node.output[0]
        self._graph.replace(self._node, self._nodes)
