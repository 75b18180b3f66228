"""Concatenation and stacking: branches of different delay are brought to one."""

from __future__ import annotations

from typing import Any

import torch

from lightning_esp.conversion.building import Builder
from lightning_esp.conversion.rules.common import Rule, per_frame
from lightning_esp.conversion.stream_tensor import StreamTensor
from lightning_esp.conversion.trace import Constant


def concatenate(build: Builder, tensors: tuple[Any, ...], dim: int = 0, axis: int | None = None) -> StreamTensor:
    """`cat` over channels or bins; over time only zeros in front, which is left padding."""
    dim = dim if axis is None else axis
    streams = [t for t in tensors if isinstance(t, StreamTensor)]
    at = dim % len(streams[0].shape)
    if any(s.time_axis == at for s in streams):
        return _prepend(build, tensors, at)
    if any(isinstance(t, Constant) and t.follows for t in tensors):
        build.refuse("joins a tensor that forward makes to fit the recording", "expand a tensor of the input instead")
    return per_frame(build, torch.cat, tensors, at)


def _prepend(build: Builder, tensors: tuple[Any, ...], axis: int) -> StreamTensor:
    *front, x = tensors
    if not all(isinstance(t, Constant) and not t.varies and axis not in t.follows for t in front):
        build.refuse(
            "joins tensors one after the other in time",
            "join them over the channels; constant frames in front are left padding, F.pad(x, (n, 0))",
        )
    if not isinstance(x, StreamTensor):
        build.refuse("appends constant frames", "pad only on the left, F.pad(x, (n, 0))")
    for constant in reversed(front):
        value = constant.value.reshape(-1)[0]
        if not bool((constant.value == value).all()):
            build.refuse("prepends frames that differ from each other", "pad with one value, F.pad(x, (n, 0))")
        x = build.pad(x, constant.value.shape[axis], 0, float(value))
    return x


def stack(build: Builder, tensors: tuple[Any, ...], dim: int = 0) -> StreamTensor:
    """`stack` along a new axis."""
    streams = [t for t in tensors if isinstance(t, StreamTensor)]
    return per_frame(build, torch.stack, tensors, dim % (len(streams[0].shape) + 1))


RULES: dict[str, Rule] = {"cat": concatenate, "concat": concatenate, "concatenate": concatenate, "stack": stack}
