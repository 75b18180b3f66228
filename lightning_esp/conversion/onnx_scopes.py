"""`located`: a converted stage whose operators, traced for ONNX, are named by the module that they came from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn


def located(stage: nn.Module) -> nn.Module:
    """Wrap a converted stage for `torch.onnx.export`; any other module is returned as it is.

    A converted stage is one flat graph, so torch would name its operators by the last part of their module's path, or not
    at all. Here `F.relu` in the module `blocks.1` becomes `/blocks.1/Relu`.

    Args:
        stage: a stage of a `StreamingModel`.

    Returns:
        A module with the same arguments and results.
    """
    return LocatedGraph(stage) if isinstance(stage, fx.GraphModule) else stage


class LocatedGraph(nn.Module):
    """Runs a graph node by node, each inside the scope of its module."""

    def __init__(self, stage: fx.GraphModule) -> None:
        super().__init__()
        self.stage = stage

    def forward(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        """Run one window."""
        runner = _Runner(self.stage)
        try:
            return runner.run(*arguments)  # type: ignore[no-any-return]
        finally:
            runner.enter("")


class _Runner(fx.Interpreter):
    def __init__(self, stage: fx.GraphModule) -> None:
        super().__init__(stage)
        self._path = ""

    def run_node(self, n: fx.Node) -> Any:
        if n.op in ("call_function", "call_module"):
            self.enter(n.meta.get("path", ""))
        return super().run_node(n)

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # Past `__call__`, which would add a scope of its own.
        return self.fetch_attr(target).forward(*args, **kwargs)

    def enter(self, path: str) -> None:
        """Leave the scope of the module before and enter that of `path`; outside of tracing there is none."""
        state = torch._C._get_tracing_state()
        if state is None or path == self._path:
            return
        if self._path:
            state.pop_scope()
        if path:
            state.push_scope(torch._C._jit_onnx_create_full_scope_name("torch.nn.Module", path))
        self._path = path
