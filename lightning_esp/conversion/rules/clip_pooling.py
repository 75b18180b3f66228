"""Adaptive pools over a whole clip whose parts are not of one size: each part is known, since the clip has one length."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lightning_esp.conversion.building import Builder
from lightning_esp.conversion.rules.common import Rule, per_frame
from lightning_esp.conversion.stream_tensor import StreamTensor

# By axis, from the first pooled one on: where each part begins and ends.
Bounds = tuple[tuple[tuple[int, int], ...], ...]


def mean_of_parts(x: Tensor, bounds: Bounds) -> Tensor:
    """`adaptive_avg_pool` over the last axes."""
    return _each(x, bounds, lambda part, axis: part.mean(axis, keepdim=True))


def largest_of_parts(x: Tensor, bounds: Bounds) -> Tensor:
    """`adaptive_max_pool` over the last axes."""
    return _each(x, bounds, lambda part, axis: part.amax(axis, keepdim=True))


def _each(x: Tensor, bounds: Bounds, pool: Callable[[Tensor, int], Tensor]) -> Tensor:
    # Axis by axis: a part is a rectangle, so the mean of its rows' means is its mean.
    for axis, parts in zip(range(-len(bounds), 0), bounds, strict=True):
        x = torch.cat([pool(x.narrow(axis, first, last - first), axis) for first, last in parts], axis)
    return x


def _parts(size: int, count: int) -> tuple[tuple[int, int], ...]:
    """The bounds that torch gives to parts, which may overlap by one."""
    return tuple((part * size // count, -(-(part + 1) * size // count)) for part in range(count))


def _pool(
    function: Any, axes: int, build: Builder, x: StreamTensor, output_size: Any, return_indices: bool = False
) -> StreamTensor:
    if return_indices:
        build.refuse("returns the places of the maxima", "leave return_indices out")
    given = output_size if isinstance(output_size, tuple) else (output_size,) * axes
    lengths = x.shape[-axes:]
    if all(count is None or n % int(count) == 0 for n, count in zip(lengths, given, strict=True)):
        return per_frame(build, build.call.function, x, output_size)
    bounds = tuple(_parts(n, n if count is None else int(count)) for n, count in zip(lengths, given, strict=True))
    return per_frame(build, function, x, bounds)


RULES: dict[str, Rule] = {
    f"adaptive_{kind}_pool{axes}d": partial(_pool, function, axes)
    for kind, function in (("avg", mean_of_parts), ("max", largest_of_parts))
    for axes in (1, 2)
}
