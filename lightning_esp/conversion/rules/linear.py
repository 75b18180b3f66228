"""Linear layers over channels, as 1x1 convolutions where there is a time axis, and products with constants."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lightning_esp.conversion.building import Builder
from lightning_esp.conversion.rules.common import Rule, per_frame, touches
from lightning_esp.conversion.stream_tensor import StreamTensor
from lightning_esp.conversion.trace import Constant


class _Pointwise(nn.Conv1d):
    """A linear layer on `[batch, time, channels]`; as a 3-D Linear the runtime cannot load it."""

    def reset_parameters(self) -> None:
        """Its weights are copied in."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.transpose(1, 2)).transpose(1, 2)


def linear(build: Builder, input: StreamTensor, weight: Any, bias: Any = None) -> StreamTensor:
    """`F.linear` over channels or bins."""
    if not isinstance(weight, Constant) or isinstance(bias, StreamTensor):
        build.refuse("has a weight that is computed from the input", "make the weight a parameter")
    if touches(input, [len(input.shape) - 1]):
        build.refuse(
            "mixes the frames of all of time", "apply it to the channels, on [batch, time, channels], or use nn.Conv1d"
        )
    outputs, inputs = build.fixed(weight).shape
    if len(input.shape) == 3 and input.time_axis == 1 and input.batch_axis == 0:
        conv = _Pointwise(inputs, outputs, 1, bias=bias is not None, device="meta")
        wide = build.once(weight.value, lambda w: w.unsqueeze(-1))
        return per_frame(build, build.fill(conv, weight=wide, bias=bias), input)
    layer = nn.Linear(inputs, outputs, bias is not None, device="meta")
    return per_frame(build, build.fill(layer, weight=weight, bias=bias), input)


def matmul(build: Builder, input: Any, other: Any, *_: Any) -> StreamTensor:
    """`x @ constant` and `constant @ x`."""
    streams = [t for t in (input, other) if isinstance(t, StreamTensor)]
    if len(streams) == 2:
        build.refuse(
            "multiplies two tensors made from the input, as attention over time does",
            "use convolutions or nn.GRU, or write streaming_forward(x, *caches) for this module by hand",
        )
    x = streams[0]
    axis = len(x.shape) - 1 if x is input else max(0, len(x.shape) - 2)
    if touches(x, [axis]):
        build.refuse("sums over all of time", "multiply over the channels")
    return per_frame(build, torch.matmul, input, other)


def einsum(build: Builder, equation: str, *operands: Any) -> StreamTensor:
    """`einsum` of one tensor of the stream with constants, as long as time is not summed."""
    flat = operands[0] if len(operands) == 1 and isinstance(operands[0], tuple) else operands
    streams = [(i, t) for i, t in enumerate(flat) if isinstance(t, StreamTensor)]
    left, _, right = equation.replace(" ", "").partition("->")
    if len(streams) != 1 or not right or "." in equation:
        build.refuse(f"({equation!r}) joins tensors made from the input", "use convolutions, or nn.GRU")
    at, x = streams[0]
    letters = left.split(",")[at]
    if x.time_axis is not None and letters[x.time_axis] not in right:
        build.refuse(f"({equation!r}) sums over all of time", "keep the letter of time in the result")
    return per_frame(build, _einsum, equation, *flat)


def _einsum(equation: str, *operands: Tensor) -> Tensor:
    return torch.einsum(equation, *operands)


RULES: dict[str, Rule] = {"linear": linear, "matmul": matmul, "__matmul__": matmul,          "bmm": matmul, "mm": matmul, "einsum": einsum}  # fmt: skip
