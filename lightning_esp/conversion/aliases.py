"""Tensors of a running `forward` that share memory, and the effect of a write into one on the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_SHAPED = frozenset(
    {"view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "view_as", "reshape_as", "ravel"}
)
_SWAPPED = frozenset({"transpose", "swapaxes", "swapdims"})
_SAME = frozenset({"detach", "alias", "data", "contiguous", "to", "requires_grad"})


@dataclass(frozen=True)
class View:
    """A tensor that shows a part of another one, or all of it in another shape.

    Args:
        view: the tensor.
        base: what it was taken from.
        undo: name of the function that puts a changed view back: `__setitem__`, `reshape` or `permute`.
        data: its argument: the index, the shape, or the order of axes.
    """

    view: Tensor
    base: Tensor
    undo: str
    data: Any


def version(tensor: Tensor) -> int:
    """Return the number of writes to a tensor's memory; 0 for a tensor of inference mode, which does not count them."""
    return 0 if tensor.is_inference() else tensor._version


def share(a: Tensor, b: Tensor) -> bool:
    """Tell whether two tensors lie in one piece of memory."""
    if a.layout is not torch.strided or b.layout is not torch.strided:
        return False
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr() and a.numel() * b.numel() > 0


def overlap(a: Tensor, b: Tensor) -> bool:
    """Tell whether two tensors of one memory have an element in common."""
    return bool(torch.isin(_places(a), _places(b)).any())


def _places(tensor: Tensor) -> Tensor:
    places = torch.tensor([tensor.storage_offset()])
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        places = (places[:, None] + torch.arange(size) * stride).reshape(-1)
    return places


def views_of(name: str, args: Sequence[Any], kwargs: Any, results: Sequence[Tensor]) -> Iterator[View]:
    """The results of a call that are views of its first argument and can be put back."""
    base = args[0] if args else kwargs.get("input")
    if not isinstance(base, Tensor) or not results:
        return
    rest = (*args[1:], *(v for k, v in kwargs.items() if k != "input"))
    for view, (undo, data) in zip(results, _ways(name, base, rest, results), strict=False):
        if view is not base and share(view, base):
            yield View(view, base, undo, data)


def _ways(name: str, base: Tensor, rest: Sequence[Any], results: Sequence[Tensor]) -> Iterator[tuple[str, Any]]:
    if name in _SHAPED:
        yield "reshape", tuple(base.shape)
    elif name in _SWAPPED or name in ("t", "T", "mT"):
        order = list(range(base.ndim))
        a, b = rest[:2] if name in _SWAPPED else (-2, -1)
        order[a], order[b] = order[b], order[a]
        yield "permute", tuple(order)
    elif name == "permute":
        order = [d % base.ndim for d in (rest[0] if isinstance(rest[0], tuple | list) else rest)]
        yield "permute", tuple(order.index(i) for i in range(base.ndim))
    elif name in _SAME:
        yield "__setitem__", (Ellipsis,)
    elif name == "__getitem__":
        index = rest[0] if isinstance(rest[0], tuple) else (rest[0],)
        if all(isinstance(i, int | slice | type(Ellipsis)) and not isinstance(i, bool) for i in index):
            yield "__setitem__", index
    else:
        yield from _parts(name, base, rest, results)


def _parts(name: str, base: Tensor, rest: Sequence[Any], results: Sequence[Tensor]) -> Iterator[tuple[str, Any]]:
    def at(dim: int, item: Any) -> tuple[str, Any]:
        return "__setitem__", (slice(None),) * (dim % base.ndim) + (item,)

    if name == "narrow":
        yield at(rest[0], slice(int(rest[1]), int(rest[1]) + rest[2]))
    elif name == "select":
        yield at(rest[0], rest[1])
    elif name == "unbind":
        for i in range(len(results)):
            yield at(rest[0] if rest else 0, i)
    elif name in ("chunk", "split", "tensor_split", "split_with_sizes"):
        dim, start = (rest[1] if len(rest) > 1 else 0), 0
        for part in results:
            yield at(dim, slice(start, start + part.shape[dim]))
            start += part.shape[dim]
