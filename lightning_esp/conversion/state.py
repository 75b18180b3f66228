"""Snapshot of a module's buffers and attributes, so that one run of `forward` leaves nothing behind for the next."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_esp.conversion.aliases import version

# What torch itself keeps in every module.
_TORCH = frozenset(vars(nn.Module()))
_CONTAINERS = (list, dict, set, deque)
_GONE = object()


@dataclass(frozen=True)
class Written:
    """A buffer or an attribute that a run of `forward` wrote.

    Args:
        path: path of its module in the model.
        module: the module.
        name: its name there.
        kind: `buffer` or `attribute`.
        value: what it was before.
    """

    path: str
    module: nn.Module
    name: str
    kind: str
    value: Any


class State:
    """The buffers and attributes of a module and its submodules, as they are now."""

    def __init__(self, module: nn.Module) -> None:
        self._places = [
            (path, child, kind, place, dict(place))
            for path, child in module.named_modules()
            for kind, place in (("buffer", child._buffers), ("attribute", vars(child)))
        ]
        values = [value for *_, place in self._places for name, value in place.items() if name not in _TORCH]
        self._containers = {id(v): (v, copy.copy(v)) for v in values if isinstance(v, _CONTAINERS)}
        self._tensors = {id(t): (t, version(t), t.detach().clone()) for v in values for t in _tensors_in(v)}

    def written(self) -> list[Written]:
        """Return what was written since this state was taken."""
        return [
            Written(path, module, name, kind, before.get(name))
            for path, module, kind, place, before in self._places
            for name in dict.fromkeys((*before, *place))
            if name not in _TORCH and self._is_changed(place.get(name, _GONE), before.get(name, _GONE))
        ]

    def _is_changed(self, now: Any, before: Any) -> bool:
        if now is not before:
            return True
        known, copied = self._containers.get(id(now), (None, None))
        if known is not None and not _same(known, copied):
            return True
        return any(version(t) != self._tensors[id(t)][1] for t in _tensors_in(now) if id(t) in self._tensors)

    @torch.no_grad()
    def restore(self) -> None:
        """Put everything back."""
        for tensor, count, values in self._tensors.values():
            if version(tensor) != count:
                tensor.copy_(values)
        for container, copied in self._containers.values():
            if not _same(container, copied):
                container.clear()
                (container.update if isinstance(container, dict | set) else container.extend)(copied)
        for *_, place, before in self._places:
            for name in [n for n in place if n not in before]:
                del place[name]
            place.update(before)


def _tensors_in(value: Any) -> Iterator[Tensor]:
    items = (
        value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple | deque) else [value]
    )
    return (item for item in items if isinstance(item, Tensor))


def _same(a: Any, b: Any) -> bool:
    if len(a) != len(b):
        return False
    pairs = zip(a.items(), b.items(), strict=True) if isinstance(a, dict) else zip(a, b, strict=True)
    if isinstance(a, dict):
        return all(x[0] == y[0] and x[1] is y[1] for x, y in pairs)
    return isinstance(a, set) or all(x is y for x, y in pairs)
