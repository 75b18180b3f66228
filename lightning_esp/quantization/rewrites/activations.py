"""PRelu: with one slope it is a LeakyRelu, which ESP-DL has in int16 too."""

from __future__ import annotations

from lightning_esp.quantization.rewrites.graph import Graph


def fix_slopes(graph: Graph) -> None:
    """Make a LeakyRelu of each PRelu whose slopes are all one number."""
    for node in graph.nodes:
        slopes = graph.constant(node.input[1]) if node.op_type == "PRelu" else None
        if slopes is not None and slopes.size and (slopes == slopes.flat[0]).all():
            alpha = float(slopes.flat[0])
            graph.replace(node, [graph.make(node, "LeakyRelu", node.input[:1], node.output[0], alpha=alpha)])
