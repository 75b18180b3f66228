"""Norms that forward writes by hand: a tensor divided by its own deviation, or by the root of its mean square.

In int8 the variance of a quiet frame is rounded to 0, and ESP-DL keeps the first divisor of one element that it meets; its
layer norm computes all of that in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from onnx import NodeProto

from lightning_esp.quantization.job import Array
from lightning_esp.quantization.rewrites.graph import Graph, attributes


@dataclass(frozen=True)
class _Deviation:
    """`sqrt(gain * mean(square(of), axes) + epsilon)`."""

    of: str
    axes: tuple[int, ...]
    gain: float
    epsilon: float


@dataclass(frozen=True)
class _Norm:
    """`x` over its deviation, or, where it is not `centred`, over the root of its mean square; then `affine`."""

    x: str
    centred: bool
    deviation: _Deviation
    gain: Array
    bias: Array | None
    last: NodeProto


def join_norms(graph: Graph) -> None:
    """Write each norm by hand as the layer norm that it is, with the scale and the shift behind it."""
    for node in graph.nodes:
        norm = _find(graph, node)
        if norm is not None:
            _write(graph, node, norm)
    graph.prune()


def _find(graph: Graph, node: NodeProto) -> _Norm | None:
    for above, below in _quotients(graph, node):
        found = _deviation(graph, below)
        if found is None or found.epsilon <= 0 or 0 in found.axes:
            continue
        centred = _centred(graph, found.of)
        if centred is not None and centred == _centred(graph, above) and centred[1] == found.axes:
            return _with_affine(graph, node, centred[0], True, found)
        if above == found.of:
            return _with_affine(graph, node, above, False, found)
    return None


def _quotients(graph: Graph, node: NodeProto) -> list[tuple[str, str]]:
    """Return dividend and divisor of a node: `a / b`, or `a * (1 / b)`."""
    if node.op_type == "Div":
        return [(node.input[0], node.input[1])]
    if node.op_type != "Mul":
        return []
    pairs = [(node.input[1 - index], _inverted(graph, node.input[index])) for index in (0, 1)]
    return [(above, below) for above, below in pairs if below is not None]


def _inverted(graph: Graph, tensor: str) -> str | None:
    node = graph.source(tensor)
    if node is None:
        return None
    if node.op_type == "Reciprocal":
        return str(node.input[0])
    one = graph.constant(node.input[0]) if node.op_type == "Div" else None
    return str(node.input[1]) if one is not None and bool((one == 1).all()) else None


def _deviation(graph: Graph, tensor: str) -> _Deviation | None:
    node = graph.source(tensor)
    if node is None or not (node.op_type == "Sqrt" or (node.op_type == "Pow" and _scalar(graph, node, 1) == 0.5)):
        return None
    node, epsilon = graph.source(node.input[0]), 0.0
    if node is not None and node.op_type == "Add":
        at = 0 if _scalar(graph, node, 0) is not None else 1
        added = _scalar(graph, node, at)
        node, epsilon = graph.source(node.input[1 - at]), -1.0 if added is None else added
    gain = 1.0
    while node is not None and node.op_type in ("Mul", "Div"):
        at = 0 if node.op_type == "Mul" and _scalar(graph, node, 0) is not None else 1
        factor = _scalar(graph, node, at)
        if not factor:
            return None
        gain = gain * factor if node.op_type == "Mul" else gain / factor
        node = graph.source(node.input[1 - at])
    mean = None if node is None else _reduction(graph, node)
    square = None if mean is None else graph.source(mean[0])
    if mean is None or square is None or not _is_square(graph, square):
        return None
    return _Deviation(square.input[0], mean[1], gain * mean[2], epsilon)


def _scalar(graph: Graph, node: NodeProto, index: int) -> float | None:
    value = graph.constant(node.input[index])
    return float(value.reshape(-1)[0]) if value is not None and value.size == 1 else None


def _reduction(graph: Graph, node: NodeProto) -> tuple[str, tuple[int, ...], float] | None:
    """Return operand and axes of a mean or sum that keeps its axes, and its multiple of the mean."""
    if node.op_type not in ("ReduceMean", "ReduceSum") or not attributes(node).get("keepdims", 1):
        return None
    stored = graph.constant(node.input[1]) if len(node.input) > 1 and node.input[1] else None
    if stored is None or stored.size == 0:
        return None
    shape = graph.shape(node.input[0])
    axes = tuple(sorted(int(axis) % len(shape) for axis in stored.reshape(-1)))
    return node.input[0], axes, 1.0 if node.op_type == "ReduceMean" else float(np.prod([shape[a] for a in axes]))


def _is_square(graph: Graph, node: NodeProto) -> bool:
    if node.op_type == "Mul":
        return bool(node.input[0] == node.input[1])
    return node.op_type == "Pow" and _scalar(graph, node, 1) == 2


def _centred(graph: Graph, tensor: str) -> tuple[str, tuple[int, ...]] | None:
    """Return the tensor from which this one was centred, and the axes of the mean."""
    node = graph.source(tensor)
    source = graph.source(node.input[1]) if node is not None and node.op_type == "Sub" else None
    mean = None if source is None else _reduction(graph, source)
    if node is None or mean is None or mean[0] != node.input[0] or mean[2] != 1:
        return None
    return mean[0], mean[1]


def _with_affine(graph: Graph, node: NodeProto, x: str, centred: bool, deviation: _Deviation) -> _Norm:
    shape = tuple(graph.shape(x)[axis] for axis in deviation.axes)
    # d / sqrt(g v + e) is d / sqrt(v + e / g) over the root of g.
    gain = np.full(shape, deviation.gain**-0.5)
    norm = _Norm(x, centred, replace(deviation, epsilon=deviation.epsilon / deviation.gain), gain, None, node)
    for kind in ("Mul", "Add"):
        reader, value = _affine(graph, norm, kind)
        if reader is not None and value is not None:
            bias = value if kind == "Add" else None
            norm = replace(norm, last=reader, bias=bias, gain=norm.gain * value if kind == "Mul" else norm.gain)
    return norm


def _affine(graph: Graph, norm: _Norm, kind: str) -> tuple[NodeProto | None, Array | None]:
    """The only reader of a norm so far where it multiplies by, or adds, a constant along its axes."""
    output, shape = norm.last.output[0], graph.shape(norm.x)
    readers = graph.readers(output)
    if output in graph.outputs or len(readers) != 1 or readers[0].op_type != kind:
        return None, None
    (other,) = [name for name in readers[0].input if name != output] or [output]
    value = graph.constant(other)
    if value is None or value.ndim > len(shape):
        return None, None
    whole = value.reshape(*[1] * (len(shape) - value.ndim), *value.shape)
    if any(n != 1 for axis, n in enumerate(whole.shape) if axis not in norm.deviation.axes):
        return None, None
    sizes = tuple(n if axis in norm.deviation.axes else 1 for axis, n in enumerate(shape))
    return readers[0], np.broadcast_to(whole, sizes).reshape(norm.gain.shape).astype(np.float64)


def _write(graph: Graph, node: NodeProto, norm: _Norm) -> None:
    """Bring the axes of the norm behind the others, merge them, and bring them back."""
    shape, axes = graph.shape(norm.x), norm.deviation.axes
    order = [*(axis for axis in range(len(shape)) if axis not in axes), *axes]
    front, size = [shape[axis] for axis in order[: -len(axes)]], norm.gain.size
    steps: list[tuple[str, list[Array], dict[str, object]]] = []
    turned, merged = order != sorted(order), len(axes) > 1
    if turned:
        steps.append(("Transpose", [], {"perm": order}))
    if merged:
        steps.append(("Reshape", [np.array([-1, *front[1:], size])], {}))
    steps += [("Norm", [], {})]
    if merged:
        steps.append(("Reshape", [np.array([-1, *front[1:], *norm.gain.shape])], {}))
    if turned:
        steps.append(("Transpose", [], {"perm": [order.index(axis) for axis in range(len(shape))]}))
    nodes: list[NodeProto] = []
    last = norm.x
    for kind, constants, options in steps:
        if kind == "Norm":
            nodes += _normalise(graph, node, norm, last, len(front))
        else:
            stored = [graph.add_constant(node, value) for value in constants]
            nodes.append(graph.make(node, kind, [last, *stored], **options))  # type: ignore[arg-type]
        last = nodes[-1].output[0]
    nodes[-1].output[0] = norm.last.output[0]
    # In the place of the last one, behind all that it reads.
    graph.replace(norm.last, nodes)


def _normalise(graph: Graph, node: NodeProto, norm: _Norm, x: str, axis: int) -> Sequence[NodeProto]:
    gain, bias = norm.gain.reshape(-1), None if norm.bias is None else norm.bias.reshape(-1)
    epsilon = norm.deviation.epsilon
    if norm.centred:
        stored = [graph.add_constant(node, v.astype(np.float32), "affine") for v in (gain, bias) if v is not None]
        return [graph.make(node, "LayerNormalization", [x, *stored], axis=-1, epsilon=epsilon)]
    # The mean of x and -x side by side is zero, so their variance is the mean square of x.
    negative = graph.make(node, "Neg", [x])
    both = graph.make(node, "Concat", [x, negative.output[0]], axis=-1)
    stored = [
        graph.add_constant(node, np.concatenate([v, v]).astype(np.float32), "affine")
        for v in (gain, bias)
        if v is not None
    ]
    whole = graph.make(node, "LayerNormalization", [both.output[0], *stored], axis=-1, epsilon=epsilon)
    bounds = [graph.add_constant(node, np.array([n]), "bound") for n in (0, gain.size, axis)]
    return [negative, both, whole, graph.make(node, "Slice", [whole.output[0], *bounds])]
