"""`unfold`: windows of frames or bins side by side."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lightning_esp.conversion.building import Builder
from lightning_esp.conversion.rules.common import Rule, per_frame, spatial
from lightning_esp.conversion.rules.convolution import Options, convolve_time
from lightning_esp.conversion.rules.shaping import RESHAPES
from lightning_esp.conversion.stream_tensor import Pending, StreamTensor
from lightning_esp.conversion.trace import Constant


def unfold(build: Builder, x: StreamTensor, *args: Any, **named: Any) -> Any:
    """`nn.Unfold` over time and bins, and `Tensor.unfold` over channels or bins."""
    return (
        _windows(build, x, *args, **named)
        if build.call.function is Tensor.unfold
        else _patches(build, x, *args, **named)
    )


def _windows(build: Builder, x: StreamTensor, dimension: int, size: int, step: int) -> StreamTensor:
    axis = dimension % len(x.shape)
    if axis == x.time_axis and x.moving:
        return _past(build, x, size, step)
    if axis == x.batch_axis:
        build.refuse("takes windows of the batch", "leave the batch as it is")
    return per_frame(build, take_windows, x, axis, size, step)


def _past(build: Builder, x: StreamTensor, size: int, step: int) -> StreamTensor:
    """Windows of frames: each frame beside those before it."""
    place, frames = build.slide(x, size, step)
    node = build.emit(take_windows, frames, x.time, size, step)
    pad_value = build.slide_pad_value(lambda values: take_windows(values, x.time, size, step), x, size)
    return build.result(node, [x], pad_value=pad_value, **build.slid(x, place))


def take_windows(x: Tensor, axis: int, size: int, step: int) -> Tensor:
    """`x.unfold(axis, size, step)` by slices."""
    count = (x.shape[axis] - size) // step + 1
    before = (slice(None),) * axis
    return torch.stack([x[(*before, slice(i, i + (count - 1) * step + 1, step))] for i in range(size)], -1)


def _patches(
    build: Builder, input: StreamTensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Pending:
    """A convolution that copies: each of its outputs has one weight, of one."""
    kernel, dilations, paddings, strides = (spatial(v, 2) for v in (kernel_size, dilation, padding, stride))
    if len(input.shape) != 4 or not input.moving or input.time < 2:
        build.refuse(
            "takes patches of a tensor without time among its last two axes", "use it on [batch, channels, time, bins]"
        )
    channels, count = input.shape[1], input.shape[1] * kernel[0] * kernel[1]
    weight = torch.eye(count, dtype=build.example.dtype).reshape(count, channels, *kernel)
    axis = input.time - 2
    options = Options(strides, paddings, dilations, 1)
    node, fields = convolve_time(build, input, Constant(weight), None, options, axis, paddings[axis])
    sizes = (
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(input.shape[2:], paddings, dilations, kernel, strides, strict=True)
    )
    stream = build.finish(replace(input, node=node, shape=(input.shape[0], count, *sizes), steady=False, **fields))
    return Pending(
        "reads patches in which time and bins are one axis, as unfold gives them",
        "reshape them at once, F.unfold(x, kernel).reshape(batch, channels * kernel, time, bins)",
        RESHAPES,
        stream,
    )


RULES: dict[str, Rule] = {"unfold": unfold}
