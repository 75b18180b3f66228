"""Convolutions over time: a cache of past frames in front of the window, and no padding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from lightning_esp.conversion.building import Builder
from lightning_esp.conversion.nodes import Frame
from lightning_esp.conversion.rules.common import Rule, bare, per_frame, spatial
from lightning_esp.conversion.rules.padding import pad
from lightning_esp.conversion.stream_tensor import StreamTensor
from lightning_esp.conversion.trace import Constant

_CONVS: dict[int, Any] = {1: bare(nn.Conv1d), 2: bare(nn.Conv2d)}
_TRANSPOSED: dict[int, Any] = {1: bare(nn.ConvTranspose1d), 2: bare(nn.ConvTranspose2d)}


@dataclass(frozen=True)
class Options:
    """Arguments of a convolution, one number per spatial axis."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


def _weights(build: Builder, x: Any, weight: Any, bias: Any) -> None:
    if not isinstance(weight, Constant) or isinstance(bias, StreamTensor) or not isinstance(x, StreamTensor):
        build.refuse("has a weight that is computed from the input", "make the weight a parameter")


def convolve(
    build: Builder,
    input: StreamTensor,
    weight: Constant,
    bias: Constant | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> StreamTensor:
    """`conv1d` and `conv2d` of any kernel, stride, dilation and groups."""
    _weights(build, input, weight, bias)
    kernel = tuple(weight.value.shape[2:])
    count = len(kernel)
    dilations, strides = spatial(dilation, count), spatial(stride, count)
    first, last = _paddings(padding, kernel, dilations)
    options = Options(strides, first, dilations, groups)
    build.check_folded(input)
    axis = _time_axis(build, input, count) if input.moving and not input.folded else None
    # torch pads one more behind than in front where the padding is odd.
    more = tuple(0 if i == axis else b - a for i, (a, b) in enumerate(zip(first, last, strict=True)))
    if any(more):
        input = pad(build, input, tuple(n for extra in reversed(more) for n in (0, extra)))
    if axis is None:
        return per_frame(build, _conv(build, weight, bias, options), input)
    node, fields = convolve_time(build, input, weight, bias, options, axis, last[axis])
    return build.result(node, [input], **fields)


def _time_axis(build: Builder, x: StreamTensor, count: int) -> int:
    axis = x.time - (len(x.shape) - count)
    if axis < 0:
        build.refuse("takes time for its channels", "move time to the last axis, [batch, channels, time]")
    return axis


def _paddings(
    padding: Any, kernel: tuple[int, ...], dilation: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if padding == "same":
        total = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
        return tuple(n // 2 for n in total), tuple(n - n // 2 for n in total)
    both = (0,) * len(kernel) if padding == "valid" else spatial(padding, len(kernel))
    return both, both


def convolve_time(
    build: Builder, x: StreamTensor, weight: Constant, bias: Constant | None, options: Options, axis: int, after: int
) -> tuple[fx.Node, dict[str, Any]]:
    """A convolution of which spatial axis `axis` is time, padded by `after` at the end: its node, and what is new of its stream."""
    x = build.pad(x, options.padding[axis], after)
    extent = (weight.value.shape[2 + axis] - 1) * options.dilation[axis] + 1
    place, frames = build.slide(x, extent, options.stride[axis], options.dilation[axis])
    without = tuple(0 if i == axis else p for i, p in enumerate(options.padding))
    conv = _conv(build, weight, bias, Options(options.stride, without, options.dilation, options.groups))
    pad_value = build.slide_pad_value(conv, x, extent)
    return build.emit(conv, frames), {"pad_value": pad_value, **build.slid(x, place)}


def _conv(build: Builder, weight: Constant, bias: Constant | None, options: Options) -> nn.Module:
    outputs, inputs, *kernel = weight.value.shape
    conv = _CONVS[len(kernel)](
        inputs * options.groups,
        outputs,
        tuple(kernel),
        options.stride,
        options.padding,
        options.dilation,
        options.groups,
        bias is not None,
        device="meta",
    )
    return build.fill(conv, weight=weight, bias=bias)


def convolve_transposed(
    build: Builder,
    input: StreamTensor,
    weight: Constant,
    bias: Constant | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> StreamTensor:
    """`conv_transpose1d` and `conv_transpose2d`: each frame of the input reaches `extent` frames of the output."""
    _weights(build, input, weight, bias)
    count = weight.value.ndim - 2
    options = Options(spatial(stride, count), spatial(padding, count), spatial(dilation, count), groups)
    extra = spatial(output_padding, count)
    build.check_folded(input)
    if not input.moving or input.folded:
        return per_frame(build, _transposed(build, weight, bias, options, extra), input)
    axis = _time_axis(build, input, count)
    extent = (weight.value.shape[2 + axis] - 1) * options.dilation[axis] + 1
    up = options.stride[axis]
    past = (extent - 1) // up
    _check_start(build, input, past)
    without = tuple(0 if i == axis else p for i, p in enumerate(options.padding))
    fitted = tuple(max(0, up - extent) if i == axis else n for i, n in enumerate(extra))
    conv = _transposed(build, weight, bias, Options(options.stride, without, options.dilation, groups), fitted)
    whole = build.emit(conv, build.remember(input, past))
    step = input.stride / up
    node = build.emit(torch.narrow, whole, input.time, up * past, Frame(step))
    before = options.padding[axis]
    frames = (input.frames - 1) * up + extent - 2 * before + extra[axis]
    exact = torch.minimum(input.exact * up - before, frames)

    def reads(j: int) -> list[int]:
        # Of the frames in reach, those that a weight falls on.
        return [i for i in range(-((extent - 1 - j) // up), j // up + 1) if (j - i * up) % options.dilation[axis] == 0]

    pad_value = _narrowed(build.pad_value_of(conv, input), input.time)
    fields: dict[str, Any] = {
        "stride": step,
        "delay": input.delay * up + before,
        "frames": frames,
        "exact": exact,
        "pad_value": pad_value,
    }
    return build.result(node, [input], reads=((input, reads),), **fields)


def _narrowed(pad_value: torch.Tensor | None, axis: int) -> torch.Tensor | None:
    return None if pad_value is None else pad_value.narrow(axis, 0, 1)


def _check_start(build: Builder, x: StreamTensor, past: int) -> None:
    if x.delay < 0 and (x.pad_value is None or bool((x.pad_value != 0).any())):
        build.refuse("follows left padding that is not zero", "pad with zeros, or after it")
    if x.delay > 0 and past and build.strict:
        build.refuse(
            f"follows a layer that drops its first {x.delay} frame(s), and adds up past frames that do not exist offline",
            "pad the layers before it on the left, F.pad(x, ((kernel - 1) * dilation, 0))",
        )


def _transposed(
    build: Builder, weight: Constant, bias: Constant | None, options: Options, extra: tuple[int, ...]
) -> nn.Module:
    inputs, outputs, *kernel = weight.value.shape
    conv = _TRANSPOSED[len(kernel)](
        inputs,
        outputs * options.groups,
        tuple(kernel),
        options.stride,
        options.padding,
        extra,
        options.groups,
        bias is not None,
        options.dilation,
        device="meta",
    )
    return build.fill(conv, weight=weight, bias=bias)


RULES: dict[str, Rule] = {
    "conv1d": convolve,
    "conv2d": convolve,
    "conv_transpose1d": convolve_transposed,
    "conv_transpose2d": convolve_transposed,
}
