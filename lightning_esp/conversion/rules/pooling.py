"""Pooling over time: a sliding kernel without weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from lightning_esp.conversion.building import Builder
from lightning_esp.conversion.rules.common import Rule, per_frame, spatial
from lightning_esp.conversion.stream_tensor import StreamTensor
from lightning_esp.conversion.trace import Varying, flatten

_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "avg_pool1d": F.avg_pool1d, "avg_pool2d": F.avg_pool2d, "max_pool1d": torch.max_pool1d,
    "max_pool2d": torch.max_pool2d,
}  # fmt: skip
_PAD_FIRST = "pad in front of it, F.pad(x, (kernel - 1, 0)), and use padding=0"


def average(
    build: Builder,
    input: StreamTensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: Any = None,
) -> StreamTensor:
    """`avg_pool1d` and `avg_pool2d`; with stride 1 a moving average."""
    count = _count(build)
    paddings = spatial(padding, count)
    if divisor_override is not None:
        build.refuse(
            f"divides by divisor_override={divisor_override}, which the chip's pool has not",
            "leave it out, and multiply by what is left, F.avg_pool2d(x, k) * (k * k / divisor)",
        )
    options: dict[str, Any] = {"count_include_pad": count_include_pad}
    axis = _time(input, count)
    if axis is not None and paddings[axis] and not count_include_pad:
        build.refuse("divides by fewer frames at the start (count_include_pad=False)", _PAD_FIRST)
    return _pool(build, input, kernel_size, stride, paddings, (1,) * count, ceil_mode, options)


def largest(
    build: Builder,
    input: StreamTensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> StreamTensor:
    """`max_pool1d` and `max_pool2d`."""
    count = _count(build)
    paddings, dilations = spatial(padding, count), spatial(dilation, count)
    axis = _time(input, count)
    if axis is not None and paddings[axis]:
        build.refuse(f"pads time by {paddings[axis]} frame(s) of minus infinity on both sides", _PAD_FIRST)
    if return_indices:
        build.refuse("returns indices", "leave return_indices out")
    return _pool(build, input, kernel_size, stride, paddings, dilations, ceil_mode, {"dilation": dilations})


def _count(build: Builder) -> int:
    return int(build.call.name[-2])


def _time(x: StreamTensor, count: int) -> int | None:
    """Index of time among the spatial axes; None where the pool leaves time alone."""
    if x.time_axis is None or x.time_axis < len(x.shape) - count:
        return None
    return x.time_axis - (len(x.shape) - count)


def _pool(
    build: Builder,
    x: StreamTensor,
    kernel_size: Any,
    stride: Any,
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    ceil_mode: bool,
    options: dict[str, Any],
) -> StreamTensor:
    count = len(padding)
    _check_sizes(build, x, kernel_size, stride)
    kernel = spatial(kernel_size, count)
    strides = kernel if stride in (None, ()) else spatial(stride, count)
    build.check_folded(x)
    axis = _time(x, count)
    function = _FUNCTIONS[build.call.name]
    if axis is None or not x.moving:
        return per_frame(build, function, x, kernel, strides, padding, ceil_mode=ceil_mode, **options)
    if ceil_mode:
        build.refuse("gives a last frame of fewer inputs (ceil_mode=True)", "use ceil_mode=False")
    x = build.pad(x, padding[axis], padding[axis])
    extent = (kernel[axis] - 1) * dilation[axis] + 1
    place, frames = build.slide(x, extent, strides[axis], dilation[axis])
    without = tuple(0 if i == axis else p for i, p in enumerate(padding))
    node = build.emit(function, frames, kernel, strides, without, **options)
    pool = partial(function, kernel_size=kernel, stride=strides, padding=without, **options)
    return build.result(node, [x], pad_value=build.slide_pad_value(pool, x, extent), **build.slid(x, place))


def _check_sizes(build: Builder, x: StreamTensor, kernel_size: Any, stride: Any) -> None:
    varying = [v for v in flatten((kernel_size, stride)) if isinstance(v, Varying)]
    if not varying:
        return
    lengths = [int(x.frames[n]) for n in build.trace.frames] if x.time_axis is not None else []
    whole = list(varying[0].values[:-1]) == lengths
    build.refuse(
        f"pools all of time, {varying[0]} frames here, which a stream never has"
        if whole
        else f"has a kernel or a stride ({varying[0]}) that follows the length of the recording",
        f"{_recent(build)}, or pool after the exported model",
    )


def _recent(build: Builder) -> str:
    if "max" in build.call.name:
        return "take the largest of the last N frames, F.max_pool1d(F.pad(x, (N - 1, 0)), N, stride=1)"
    return "average the last N frames, F.avg_pool1d(F.pad(x, (N - 1, 0)), N, stride=1)"


def adaptive(build: Builder, input: StreamTensor, output_size: Any, return_indices: bool = False) -> StreamTensor:
    """`adaptive_*_pool`: over bins only."""
    count = _count(build)
    sizes = spatial(output_size, count)
    axis = _time(input, count)
    if axis is not None and sizes[axis] is not None:
        build.refuse(
            f"pools all of time to {sizes[axis]} frame(s), which a stream never has",
            f"{_recent(build)}, or pool after the exported model",
        )
    others = [len(input.shape) - count + i for i, n in enumerate(sizes) if n is not None]
    if any(sizes[a - len(input.shape) + count] != 1 for a in others):
        if axis is not None:
            build.refuse("pools bins to more than one beside time", "use nn.AvgPool2d with a kernel of one frame")
        function = getattr(F, build.call.name)
        return per_frame(build, function, input, output_size)
    reduce = torch.amax if "max" in build.call.name else torch.mean
    return per_frame(build, reduce, input, tuple(others), keepdim=True)


RULES: dict[str, Rule] = {
    "avg_pool1d": average,
    "avg_pool2d": average,
    "max_pool1d": largest,
    "max_pool2d": largest,
    **dict.fromkeys(
        ("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool1d", "adaptive_max_pool2d"), adaptive
    ),
}
