"""Changes of the ONNX graph that stay within a stage: what leaves a stage stays what the next one reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import onnx
from onnxsim import simplify

# What the readers of an output read while the graph is open there; no name of torch's ends so.
_READ = "::read"


def change_stages(model: onnx.ModelProto, *changes: Callable[[onnx.ModelProto], onnx.ModelProto]) -> onnx.ModelProto:
    """Change a model without looking through its outputs, among which is all that crosses a cut.

    Two transposes in a row that stand in two stages would become one, which reads the tensor before the cut.

    Args:
        model: a model whose shapes are fixed.
        changes: what to do, one after the other, to a model in which each reader of an output reads an input of its own.

    Returns:
        Another model, in the order of execution.
    """
    changed = _open(model)
    for change in changes:
        changed = change(changed)
    return _close(changed)


def simplified(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model of fewer operators; the same one where simplification changes what is computed."""
    try:
        simple, checked = simplify(model)
    except RuntimeError:
        # An assertion of its optimizer, which a product of three tensors runs into; what it folds, it folds without too.
        simple, checked = simplify(model, perform_optimization=False)
    return simple if checked else model


def _open(model: onnx.ModelProto) -> onnx.ModelProto:
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    outputs = {output.name: output for output in opened.graph.output}
    for name in [name for name in dict.fromkeys(_inputs(opened.graph.node)) if name in outputs]:
        given = opened.graph.input.add()
        given.CopyFrom(outputs[name])
        given.name = name + _READ
    _rename(opened.graph, lambda name: name + _READ if name in outputs else name)
    return opened


def _close(model: onnx.ModelProto) -> onnx.ModelProto:
    closed = onnx.ModelProto()
    closed.CopyFrom(model)
    _rename(closed.graph, lambda name: name.removesuffix(_READ))
    kept = [given for given in closed.graph.input if not given.name.endswith(_READ)]
    del closed.graph.input[:]
    closed.graph.input.extend(kept)
    _sort(closed.graph)
    return closed


def _inputs(nodes: Iterable[onnx.NodeProto]) -> Iterator[str]:
    for node in nodes:
        yield from node.input


def _rename(graph: onnx.GraphProto, change: Callable[[str], str]) -> None:
    for node in graph.node:
        node.input[:] = [change(name) for name in node.input]


def _sort(graph: onnx.GraphProto) -> None:
    """Bring the nodes into an order of execution, which an open graph does not have across its outputs."""
    nodes = list(graph.node)
    waiting = {name for node in nodes for name in node.output}
    ordered: list[onnx.NodeProto] = []
    while nodes:
        ready = [node for node in nodes if not waiting.intersection(node.input)]
        assert ready, "a graph of torch's has no circles"
        waiting -= {name for node in ready for name in node.output}
        ordered += ready
        nodes = [node for node in nodes if waiting.intersection(node.output)]
    del graph.node[:]
    graph.node.extend(ordered)
