"""Operators that do nothing: folded away, since ESP-DL asserts on some (a Concat of one input) and pays for the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
from onnx import NodeProto

from lightning_esp.quantization.rewrites.graph import Graph, attributes

_VIEWS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")
_REDUCTIONS = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd")
_NEUTRAL = {"Add": 0, "Sub": 0, "Mul": 1, "Div": 1}


def fold_noops(graph: Graph) -> None:
    """Let the readers of an operator that does nothing read what it reads, and drop what nothing reads then."""
    for node in graph.nodes:
        if node.op_type == "Concat":
            _drop_empty_parts(graph, node)
        source = _same_as(graph, node)
        if source is not None:
            _bypass(graph, node, source)
    graph.prune()


def _drop_empty_parts(graph: Graph, node: NodeProto) -> None:
    """ESP-DL has no tensor without elements, such as the cache of a kernel of one frame."""
    kept = [name for name in node.input if 0 not in graph.shape(name)]
    if kept:
        node.input[:] = kept


def _bypass(graph: Graph, node: NodeProto, source: str) -> None:
    output = node.output[0]
    if output not in graph.outputs:
        graph.redirect(output, source)
        graph.replace(node, [])
        return
    maker = graph.source(source)
    if maker is None or source in graph.outputs:
        # The output must stay a tensor of its own; a view copies nothing.
        shape = graph.add_constant(node, np.array(graph.shape(source), np.int64), "shape")
        graph.replace(node, [graph.make(node, "Reshape", [source, shape], output)])
        return
    graph.replace(node, [])
    graph.redirect(source, output)
    maker.output[:] = [output if name == source else name for name in maker.output]


def _same_as(graph: Graph, node: NodeProto) -> str | None:
    """The tensor that the output of a node equals, in shape and in every element; None where it computes something."""
    if len([name for name in node.output if name]) != 1:
        return None
    if node.op_type in _NEUTRAL:
        return _without_neutral(graph, node)
    if node.op_type in _VIEWS:
        return _before_views(graph, node)
    if node.op_type == "Transpose":
        return _before_transposes(graph, node)
    test = _TESTS.get(node.op_type)
    same = test is not None and _shapes_agree(graph, node) and test(graph, node)
    return str(node.input[0]) if same else None


def _shapes_agree(graph: Graph, node: NodeProto) -> bool:
    return graph.shape(node.input[0]) == graph.shape(node.output[0])


def _without_neutral(graph: Graph, node: NodeProto) -> str | None:
    commutes = node.op_type in ("Add", "Mul")
    for index in (1, 0) if commutes else (1,):
        value, other = graph.constant(node.input[index]), node.input[1 - index]
        if value is None or not (value == _NEUTRAL[node.op_type]).all():
            continue
        if graph.shape(other) == graph.shape(node.output[0]):
            return str(other)
    return None


def _before_views(graph: Graph, node: NodeProto) -> str | None:
    """Return the start of a chain of views, where it ends with the shape that it began with."""
    found: NodeProto | None = node
    while found is not None and found.op_type in _VIEWS:
        if graph.shape(found.input[0]) == graph.shape(node.output[0]):
            return str(found.input[0])
        found = graph.source(found.input[0])
    return None


def _before_transposes(graph: Graph, node: NodeProto) -> str | None:
    """Return the start of a chain of permutations, where together they move nothing."""
    order: tuple[int, ...] = tuple(range(len(graph.shape(node.output[0]))))
    found: NodeProto | None = node
    while found is not None and found.op_type == "Transpose":
        perm = cast(Sequence[int], attributes(found).get("perm", tuple(reversed(range(len(order))))))
        order = tuple(perm[axis] for axis in order)
        shape = graph.shape(found.input[0])
        moved = [axis for axis in order if shape[axis] > 1]
        # The batch is 1 in the file, but the calibration runs many windows as one batch, and needs them in front.
        if moved == sorted(moved) and order[0] == 0 and shape == graph.shape(node.output[0]):
            return str(found.input[0])
        found = graph.source(found.input[0])
    return None


def _always(graph: Graph, node: NodeProto) -> bool:
    return True


def _is_alone(graph: Graph, node: NodeProto) -> bool:
    return len([name for name in node.input if name]) == 1


def _steps_forward(graph: Graph, node: NodeProto) -> bool:
    steps = graph.constant(node.input[4]) if len(node.input) > 4 and node.input[4] else np.ones(1, np.int64)
    return steps is not None and bool((steps > 0).all())


def _keeps_type(graph: Graph, node: NodeProto) -> bool:
    return attributes(node)["to"] == graph.kind(node.input[0])


def _spans_one(graph: Graph, node: NodeProto) -> bool:
    """Tell whether a pool looks at one element only."""
    options = attributes(node)
    lengths = cast(Sequence[int], options["kernel_shape"])
    return all(size == 1 for size in lengths) and not any(cast(Sequence[int], options.get("pads", ())))


def _pads_nothing(graph: Graph, node: NodeProto) -> bool:
    """A negative pad before and a positive one behind would keep the shape too."""
    pads = graph.constant(node.input[1])
    return pads is not None and not pads.any()


def _block_of_one(graph: Graph, node: NodeProto) -> bool:
    return attributes(node)["blocksize"] == 1


_TESTS: dict[str, Callable[[Graph, NodeProto], bool]] = {
    "Identity": _always,
    "Dropout": _always,
    "Expand": _always,
    "Tile": _always,
    "GlobalAveragePool": _always,
    "GlobalMaxPool": _always,
    **dict.fromkeys(_REDUCTIONS, _always),
    **dict.fromkeys(("Concat", "Sum", "Mean", "Max", "Min", "Clip", "Split"), _is_alone),
    "Pad": _pads_nothing,
    "Slice": _steps_forward,
    "Cast": _keeps_type,
    **dict.fromkeys(("AveragePool", "MaxPool"), _spans_one),
    **dict.fromkeys(("DepthToSpace", "SpaceToDepth"), _block_of_one),
}
