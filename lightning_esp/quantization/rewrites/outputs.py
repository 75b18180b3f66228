"""Outputs of the graph that something inside it reads as well."""

from __future__ import annotations

from lightning_esp.quantization.rewrites.graph import Graph


def keep_outputs(graph: Graph) -> None:
    """Give every such output a second reader, an Identity that nobody reads.

    esp-ppq joins operators (`x * sigmoid(x)`, a layer and its norm) wherever the tensor between them has one reader, even
    if it is an output, which is lost with it. It drops the Identity once it has joined what it wants to.
    """
    for output in graph.outputs:
        source = graph.source(output)
        if source is not None and graph.readers(output):
            graph.append(graph.make(source, "Identity", [output]))
