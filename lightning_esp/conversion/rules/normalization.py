"""Normalisation: with fixed statistics, or over axes without time."""

from __future__ import annotations

from typing import Any, NoReturn

import torch.nn.functional as F
from torch import nn

from lightning_esp.conversion.building import Builder
from lightning_esp.conversion.rules.common import Rule, per_frame, touches
from lightning_esp.conversion.stream_tensor import StreamTensor
from lightning_esp.conversion.trace import Constant

_NORMS: dict[int, Any] = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}
_ADVICE = "use nn.BatchNorm1d (nn.BatchNorm2d), or nn.LayerNorm over the channels"


def batch_norm(
    build: Builder,
    input: StreamTensor,
    running_mean: Constant | None,
    running_var: Constant | None,
    weight: Constant | None = None,
    bias: Constant | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> StreamTensor:
    """Batch norm with its running statistics."""
    if training or running_mean is None or running_var is None:
        build.refuse("takes its statistics from the recording", "keep track_running_stats=True")
    if touches(input, [1]):
        build.refuse("takes time for its channels", "move the channels to axis 1")
    count = running_mean.value.shape[0]
    norm = _NORMS[len(input.shape)](count, eps=eps, affine=weight is not None, device="meta")
    norm.num_batches_tracked = None
    build.fill(norm, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    return per_frame(build, norm, input)


def layer_norm(
    build: Builder, input: StreamTensor, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> StreamTensor:
    """Layer norm over the last axes, without time."""
    if touches(input, range(len(input.shape) - len(normalized_shape), len(input.shape))):
        build.refuse("normalises over all of time, which a stream never has", _ADVICE)
    norm = nn.LayerNorm(normalized_shape, eps, weight is not None, bias is not None, device="meta")
    return per_frame(build, build.fill(norm, weight=weight, bias=bias), input)


def refuse_norm(build: Builder, *_: Any, **__: Any) -> NoReturn:
    """Group and instance norm, whose statistics run over time."""
    build.refuse("normalises over all of time, which a stream never has", _ADVICE)


def response_norm(
    build: Builder, input: StreamTensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> StreamTensor:
    """Local response norm: every channel by its neighbours in the same frame."""
    if touches(input, [1]):
        build.refuse("divides each frame by its neighbours in time", "move the channels to axis 1")
    return per_frame(build, F.local_response_norm, input, size, alpha, beta, k)


def instance_norm(
    build: Builder,
    input: StreamTensor,
    running_mean: Constant | None = None,
    running_var: Constant | None = None,
    weight: Constant | None = None,
    bias: Constant | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> StreamTensor:
    """Instance norm, where its statistics do not run over time: with those of training, a batch norm; or frame by frame."""
    if not use_input_stats:
        return batch_norm(build, input, running_mean, running_var, weight, bias, False, momentum, eps)
    if input.time_axis != 1 or weight is not None or bias is not None:
        refuse_norm(build)
    return per_frame(build, nn.LayerNorm(list(input.shape[2:]), eps, False), input)


def rms_norm(
    build: Builder, input: StreamTensor, normalized_shape: Any, weight: Any = None, eps: Any = None
) -> StreamTensor:
    """RMS norm over the last axes, without time."""
    if touches(input, range(len(input.shape) - len(normalized_shape), len(input.shape))):
        build.refuse("normalises over all of time, which a stream never has", _ADVICE)
    return per_frame(build, F.rms_norm, input, normalized_shape, weight, eps)


RULES: dict[str, Rule] = {
    "batch_norm": batch_norm,
    "layer_norm": layer_norm,
    "rms_norm": rms_norm,
    "group_norm": refuse_norm,
    "instance_norm": instance_norm,
    "local_response_norm": response_norm,
}
