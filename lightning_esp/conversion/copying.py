"""Deep copies of modules, whatever they hold."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from torch import Tensor, nn

AnyModule = TypeVar("AnyModule", bound=nn.Module)

_REGISTRIES = ("_parameters", "_buffers", "_modules")


def copy_module(module: AnyModule, memo: Mapping[int, Any] | None = None) -> AnyModule:
    """Return a deep copy; tensors with a graph behind them are copied without it, and what has no copy is shared.

    torch refuses to copy such tensors: the weight that `torch.nn.utils.weight_norm` computes, or a loss that the user
    keeps. Locks, open files, sockets and generators have no copy at all.

    Args:
        module: any module.
        memo: what takes the place of objects, by their id, as for `copy.deepcopy`.
    """
    known = {id(value): value.detach().clone() for value in _graph_tensors(module)} | dict(memo or {})
    try:
        return copy.deepcopy(module, dict(known))
    except Exception:  # what copying someone's object raises is anyone's guess
        shared = {id(value): value for value in _uncopyable(module, known)}
        if not shared:
            raise
        return copy.deepcopy(module, known | shared)


def _uncopyable(module: nn.Module, known: Mapping[int, Any]) -> Iterator[Any]:
    """Attributes of the module and of its children that cannot be copied, each tried alone."""
    # A module among the attributes is tried as a child.
    modules = {id(child): child for child in module.modules()}
    for child in modules.values():
        for name, value in _state(child).items():
            if name not in _REGISTRIES and id(value) not in known and not _has_copy(value, {**known, **modules}):
                yield value


def _state(module: nn.Module) -> dict[str, Any]:
    """Return what a copy would take over: a LightningModule leaves its trainer out."""
    getter = getattr(module, "__getstate__", None)  # every object has one from Python 3.11 on
    state = getter() if getter is not None else None
    return state if isinstance(state, dict) else vars(module)


def _has_copy(value: Any, known: Mapping[int, Any]) -> bool:
    try:
        copy.deepcopy(value, dict(known))
    except Exception:  # as above
        return False
    return True


def _graph_tensors(module: nn.Module) -> Iterator[Tensor]:
    for child in module.modules():
        for value in vars(child).values():
            parts = list(value.values()) if isinstance(value, Mapping) else value
            for part in parts if isinstance(parts, list | tuple) else [parts]:
                if isinstance(part, Tensor) and not part.is_leaf:
                    yield part
