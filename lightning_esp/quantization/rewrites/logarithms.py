"""The logarithm of a softmax in operators with an integer form: a row without its maximum, less the logarithm of its sum.

ESP-DL's own computes in float32, whose last bit differs between libraries. Without the maximum no exponential exceeds 1.
"""

from __future__ import annotations

import numpy as np

from lightning_esp.quantization.rewrites.graph import Graph, attributes


def spell_log_softmax(graph: Graph) -> None:
    """Write each LogSoftmax as `z - log(sum(exp(z)))`, `z = x - max(x)`."""
    for node in graph.nodes:
        if node.op_type != "LogSoftmax":
            continue
        axis = attributes(node).get("axis", -1)
        assert isinstance(axis, int)
        axes = graph.add_constant(node, np.array([axis % len(graph.shape(node.input[0]))], np.int64), "axes")
        largest = graph.make(node, "ReduceMax", [node.input[0], axes], keepdims=1)
        row = graph.make(node, "Sub", [node.input[0], largest.output[0]])
        power = graph.make(node, "Exp", [row.output[0]])
        total = graph.make(node, "ReduceSum", [power.output[0], axes], keepdims=1)
        logarithm = graph.make(node, "Log", [total.output[0]])
        result = graph.make(node, "Sub", [row.output[0], logarithm.output[0]], node.output[0])
        graph.replace(node, [largest, row, power, total, logarithm, result])
