"""Boundary between two stages in a model that torch writes as ONNX: an operator that it cannot look through.

Without it, torch joins operators of two stages, two transposes say, into one that reads a tensor before the cut.
"""

from __future__ import annotations

from typing import Any

import onnx
import torch
from torch import Tensor

_DOMAIN, _NAME = "lightning_esp", "Boundary"


class Boundary(torch.autograd.Function):
    """Passes a tensor on, and becomes an operator of its own in ONNX."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Return a copy, since a tensor that is given back unchanged leaves no trace."""
        return x.clone()

    @staticmethod
    def symbolic(graph: Any, x: Any) -> Any:
        """Write the operator."""
        return graph.op(f"{_DOMAIN}::{_NAME}", x).setType(x.type())


def separate(x: Tensor) -> Tensor:
    """Mark where a tensor enters a later stage."""
    marked: Tensor = Boundary.apply(x)  # type: ignore[no-untyped-call]
    return marked


def join_stages(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model whose later stages read what the earlier ones give, without the operators of `separate`."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    outputs = {output.name for output in result.graph.output}
    given: dict[str, str] = {}
    kept = []
    for node in result.graph.node:
        node.input[:] = [given.get(name, name) for name in node.input]
        if node.domain != _DOMAIN:
            kept.append(node)
        elif node.output[0] in outputs:
            # A stage gives back what it was given.
            kept.append(onnx.helper.make_node("Identity", node.input, node.output, node.name))
        else:
            given[node.output[0]] = node.input[0]
    del result.graph.node[:]
    result.graph.node.extend(kept)
    imports = [entry for entry in result.opset_import if entry.domain != _DOMAIN]
    del result.opset_import[:]
    result.opset_import.extend(imports)
    return result
