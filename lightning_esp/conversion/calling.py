"""Calls of the user's `forward`, with whatever signature, that leave what they are given as it is."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lightning_esp.conversion.state import State

_NAMED = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)


def argument_names(module: nn.Module) -> tuple[str, ...]:
    """Names of the arguments of `module.forward` that take a tensor each, in order; `*args` alone takes one."""
    parameters = inspect.signature(module.forward).parameters.values()
    named = tuple(p.name for p in parameters if p.kind in _NAMED or (p.kind is p.KEYWORD_ONLY and p.default is p.empty))
    return named or tuple(p.name for p in parameters if p.kind is p.VAR_POSITIONAL)


def accepts(module: nn.Module, name: str) -> bool:
    """Tell whether `forward` takes an argument of this name."""
    parameters = inspect.signature(module.forward).parameters
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def call(module: nn.Module, inputs: Mapping[str, Tensor]) -> Any:
    """Call the module by argument name, and put back what `forward` writes into its buffers and attributes.

    Args:
        module: the offline module.
        inputs: tensors by argument name. A forward that writes into its inputs must be given copies.
    """
    state = State(module)
    try:
        return call_once(module, inputs)
    finally:
        state.restore()


def call_once(module: nn.Module, inputs: Mapping[str, Tensor]) -> Any:
    """The call alone. Arguments that have no name for the caller go by their place."""
    parameters = inspect.signature(module.forward).parameters
    by_place = [name for name, p in parameters.items() if p.kind in _BY_PLACE and name in inputs]
    pad_value = {name: value for name, value in inputs.items() if name not in by_place}
    with torch.no_grad(), uncompiled():
        return module(*(inputs[name] for name in by_place), **pad_value)


@contextmanager
def uncompiled() -> Iterator[None]:
    """Run functions that `torch.compile` made as the Python that they are."""
    # Importing the compiler takes seconds, and what was never imported has compiled nothing.
    if "torch._dynamo" not in sys.modules:
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield
