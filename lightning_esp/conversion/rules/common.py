"""Helpers that several rules share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from lightning_esp.conversion.building import Builder, streams_in
from lightning_esp.conversion.stream_tensor import StreamTensor
from lightning_esp.conversion.trace import replace_values

Rule: TypeAlias = Callable[..., Any]


def per_frame(build: Builder, function: Callable[..., Any] | nn.Module, *args: Any, **kwargs: Any) -> StreamTensor:
    """Convert a call that treats every frame alone: bring its tensors to one delay and call `function` on the window."""
    streams = list(streams_in((args, tuple(kwargs.values()))))
    aligned = dict(zip(map(id, streams), build.align(streams), strict=True))

    def change(item: Any) -> Any:
        return aligned[id(item)] if isinstance(item, StreamTensor) else item

    args = replace_values(args, change)
    kwargs = {key: replace_values(value, change) for key, value in kwargs.items()}
    node, pad_value = build.apply(function, *args, **kwargs)
    return build.result(node, [aligned[id(s)] for s in streams], pad_value=pad_value)


def bare(kind: type[nn.Module]) -> type[Any]:
    """A layer class that makes no weights of its own, since those of the user's layer are copied in."""
    return type(kind.__name__, (kind,), {"reset_parameters": lambda self: None})


def axes_of(dim: Any, ndim: int) -> tuple[int, ...]:
    """Axes from an argument `dim`, counted from the front; all of them for None."""
    if dim is None or dim == ():
        return tuple(range(ndim))
    return tuple(int(d) % ndim for d in (dim if isinstance(dim, tuple) else (dim,)))


def spatial(value: Any, count: int) -> tuple[int, ...]:
    """An argument of a convolution or a pool, one number per spatial axis."""
    if isinstance(value, tuple):
        return tuple(value) if len(value) == count else tuple(value) * count
    return (int(value),) * count


def touches(x: StreamTensor, axes: Iterable[int]) -> bool:
    """Tell whether time is among the axes."""
    return x.time_axis is not None and x.time_axis in set(axes)


def glu(x: Tensor, dim: int) -> Tensor:
    """Gated linear unit by slices: Split has been computed wrongly on the chip."""
    half = x.shape[dim] // 2
    return x.narrow(dim, 0, half) * torch.sigmoid(x.narrow(dim, half, half))
