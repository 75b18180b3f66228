"""Reshapes that trade frames for channels: several frames become one, or one becomes several."""

from __future__ import annotations

from math import prod
from typing import Any

import torch

from lightning_esp.conversion.building import Builder
from lightning_esp.conversion.nodes import Frame
from lightning_esp.conversion.rules.resampling import spread
from lightning_esp.conversion.stream_tensor import StreamTensor


def fold(build: Builder, x: StreamTensor) -> StreamTensor | None:
    """Convert a reshape between time and the axes behind it; None for any other.

    Memory keeps its order, so `[batch, time, channels]` to `[batch, time / 3, 3 * channels]` stacks three frames, and
    `[batch, channels, time, 2]` to `[batch, channels, 2 * time]` spreads one over two.
    """
    batch, time = build.axes()
    after = build.shape()
    if (
        x.time_axis is None
        or x.folded
        or time is None
        or batch != x.batch_axis
        or batch is None
        or batch >= min(time, x.time_axis)
    ):
        return None
    same_front = prod(x.shape[: x.time_axis]) == prod(after[:time])
    inner, outer = prod(x.shape[x.time_axis + 1 :]), prod(after[time + 1 :])
    if not same_front or x.steady or x.shape[batch] != after[batch]:
        return None
    if outer > inner and outer % inner == 0:
        return _stack(build, x, after, batch, time, outer // inner)
    if inner > outer and inner % outer == 0:
        return _spread(build, x, after, batch, time, inner // outer)
    return None


def _sizes(after: tuple[int, ...], batch: int, time: int, frames: Any) -> tuple[Any, ...]:
    return tuple(-1 if i == batch else frames if i == time else n for i, n in enumerate(after))


def _stack(build: Builder, x: StreamTensor, after: tuple[int, ...], batch: int, time: int, count: int) -> StreamTensor:
    # Offline, torch takes whole groups of frames only.
    build.valid = build.valid & (x.frames % count == 0)
    place, frames = build.slide(x, count, count)
    if place.history:
        frames = build.emit(torch.narrow, frames, x.time, 0, Frame(x.stride))
    node = build.emit(torch.reshape, frames, _sizes(after, batch, time, Frame(x.stride * count)))
    pad_value = build.slide_pad_value(lambda values: values.reshape(_sizes(after, batch, time, 1)), x, count)
    return build.result(node, [x], pad_value=pad_value, **build.slid(x, place))


def _spread(build: Builder, x: StreamTensor, after: tuple[int, ...], batch: int, time: int, up: int) -> StreamTensor:
    node = build.emit(torch.reshape, x, _sizes(after, batch, time, Frame(x.stride / up)))
    pad_value = None
    if x.delay < 0 and x.pad_value is not None:
        wide = x.pad_value.reshape(_sizes(after, batch, time, up))
        first = wide.narrow(time, 0, 1)
        # What differs between the frames before the first one has no single start value.
        pad_value = first if bool((wide == first).all()) else None
    return spread(build, x, node, pad_value, up)
