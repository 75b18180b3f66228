"""Deep copies of modules, whatever they hold."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from torch import Tensor, nn

AnyModule = TypeVar("AnyModule", bound=nn.Module)


def copy_module(module: AnyModule, memo: Mapping[int, Any] | None = None) -> AnyModule:
    """Return a deep copy; tensors with a graph behind them are copied without it.

    torch refuses to copy such tensors: the weight that `torch.nn.utils.weight_norm` computes, or a loss that the user
    keeps.

    Args:
        module: any module.
        memo: what takes the place of objects, by their id, as for `copy.deepcopy`.
    """
    detached = {id(value): value.detach().clone() for value in _graph_tensors(module)}
    return copy.deepcopy(module, {**detached, **(memo or {})})


def _graph_tensors(module: nn.Module) -> Iterator[Tensor]:
    for child in module.modules():
        for value in vars(child).values():
            parts = list(value.values()) if isinstance(value, Mapping) else value
            for part in parts if isinstance(parts, list | tuple) else [parts]:
                if isinstance(part, Tensor) and not part.is_leaf:
                    yield part
