"""Outputs of the graph that something inside it reads as well."""

from __future__ import annotations

import onnx


def keep_outputs(model: onnx.ModelProto) -> None:
    """Give every such output a second reader, an Identity that nobody reads, in place.

    esp-ppq joins operators (`x * sigmoid(x)`, a layer and its norm) wherever the tensor between them has one reader, even
    if it is an output, which is lost with it. It drops the Identity once it has joined what it wants to. This comes behind
    all passes, since they fold an Identity away, and see each stage alone.
    """
    graph = model.graph
    read = {name for node in graph.node for name in node.input}
    computed = {name for node in graph.node for name in node.output}
    for output in [value.name for value in graph.output]:
        if output in read and output in computed:
            name = f"{output}::kept"
            graph.node.append(onnx.helper.make_node("Identity", [output], [name], name=name))
