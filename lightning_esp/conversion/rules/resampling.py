"""Upsampling: every frame becomes several."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx

from lightning_esp.conversion.building import Builder
from lightning_esp.conversion.rules.common import Rule, per_frame
from lightning_esp.conversion.stream_tensor import StreamTensor
from lightning_esp.conversion.trace import Varying


def interpolate(
    build: Builder,
    input: StreamTensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: Any = None,
    recompute_scale_factor: Any = None,
    antialias: bool = False,
) -> StreamTensor:
    """`F.interpolate` and `nn.Upsample` with mode nearest and a whole factor."""
    count = len(input.shape) - 2
    if input.time_axis is None or input.time_axis < 2:
        build.refuse("takes time for its channels", "move time to the last axis")
    if mode not in ("nearest", "nearest-exact"):
        build.refuse(f"with mode={mode!r} reads the next frame", 'use mode="nearest"')
    factors = _factors(build, input, size, scale_factor, count)
    node, pad_value = build.apply(F.interpolate, input, scale_factor=tuple(float(f) for f in factors), mode=mode)
    return spread(build, input, node, _first(input, pad_value), int(factors[input.time - 2]))


def _factors(build: Builder, x: StreamTensor, size: Any, scale: Any, count: int) -> tuple[float, ...]:
    if size is not None:
        sizes = size if isinstance(size, tuple) else (size,) * count
        factors = tuple(_ratio(build, x, i + 2, n) for i, n in enumerate(sizes))
    else:
        factors = tuple(scale) if isinstance(scale, tuple) else (scale,) * count
    if any(isinstance(f, Varying) for f in factors) or factors[x.time - 2] != int(factors[x.time - 2]):
        build.refuse("resamples time by a factor that is not whole", "use a whole scale_factor")
    return factors


def _ratio(build: Builder, x: StreamTensor, axis: int, size: Any) -> float:
    if axis != x.time_axis:
        return float(Fraction(size, x.shape[axis]))
    found = size.values[: len(build.trace.frames)] if isinstance(size, Varying) else (size,) * len(build.trace.frames)
    factor = Fraction(found[0], int(x.frames[build.trace.frames[0]]))
    wanted = build.match(found).frames
    # A size that is not always the same multiple would stretch time by another factor for each recording.
    known = build.valid & (x.frames > 0)
    if factor.denominator != 1 or bool((wanted != x.frames * int(factor))[known].any()):
        build.refuse(
            "stretches time to a given size, by another factor for each recording",
            "use scale_factor=2 (say) and cut to size, y[..., : x.shape[-1]]",
        )
    return float(factor)


def _first(x: StreamTensor, pad_value: torch.Tensor | None) -> torch.Tensor | None:
    return None if pad_value is None else pad_value.narrow(x.time, 0, 1)


def spread(build: Builder, x: StreamTensor, node: fx.Node, pad_value: torch.Tensor | None, up: int) -> StreamTensor:
    """The stream in which every frame of `x` has become `up` frames, each of them `pad_value` before the first one."""

    def reads(j: int) -> range:
        return range(j // up, j // up + 1)

    fields: dict[str, Any] = {
        "stride": x.stride / up,
        "delay": x.delay * up,
        "frames": x.frames * up,
        "exact": x.exact * up,
    }
    if x.exact is x.frames:
        fields["exact"] = fields["frames"]
    return build.result(node, [x], pad_value=pad_value, reads=((x, reads),), **fields)


def repeat_interleave(
    build: Builder, x: StreamTensor, repeats: Any, dim: Any = None, output_size: Any = None
) -> StreamTensor:
    """`repeat_interleave` by a number."""
    if not isinstance(repeats, int) or dim is None:
        build.refuse("repeats by a tensor, or without an axis", "give a number and dim=-1")
    axis = dim % len(x.shape)
    if axis == x.batch_axis:
        build.refuse("repeats the batch", "leave the batch as it is")
    if axis != x.time_axis:
        return per_frame(build, torch.repeat_interleave, x, repeats, axis)
    node, pad_value = build.apply(torch.repeat_interleave, x, repeats, axis)
    return spread(build, x, node, _first(x, pad_value), repeats)


RULES: dict[str, Rule] = {"interpolate": interpolate, "upsample": interpolate, "repeat_interleave": repeat_interleave}
