"""Another layout, or several outputs, around a random model of `[batch, channels, time]`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tests.models.pieces import CausalConv
from tests.support.choices import Choices


@dataclass(frozen=True)
class Wrapped:
    """A model with an example of its input, whose time axis is `axis`."""

    module: nn.Module
    example: Tensor
    axis: int


Wrapper = Callable[[Choices, nn.Module, Tensor], Wrapped]


class ChannelsLast(nn.Module):
    """`[batch, time, channels]` outside."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, input: Tensor) -> Tensor:
        return self.inner(input.transpose(1, 2)).permute(0, 2, 1)


class BinsThenTime(nn.Module):
    """`[batch, 1, bins, time]` outside, as a picture of a spectrum."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, input: Tensor) -> Tensor:
        b, c, f, t = input.shape
        return self.inner(input.reshape(b, c * f, t)).unsqueeze(1)


class TimeThenBins(nn.Module):
    """`[batch, 1, time, bins]` outside."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, input: Tensor) -> Tensor:
        return self.inner(input.squeeze(1).mT).mT[:, None]


class Heads(nn.Module):
    """What the model gives, and what a head makes of it: a tuple or a list."""

    def __init__(self, inner: nn.Module, width: int, kind: str) -> None:
        super().__init__()
        self.inner, self.head, self.kind = inner, CausalConv(width, 3, 2), kind

    def forward(self, input: Tensor) -> object:
        h = self.inner(input)
        if self.kind == "rectified":
            return torch.relu(h), self.head(h)
        if self.kind == "seen":
            return h.reshape(h.shape[0], 1, h.shape[1], h.shape[2]), self.head(h)
        return [h, self.head(h)] if self.kind == "list" else (h, self.head(h))


def channels_last(r: Choices, module: nn.Module, example: Tensor) -> Wrapped:
    return Wrapped(ChannelsLast(module), example.transpose(1, 2).contiguous(), 1)


def bins_then_time(r: Choices, module: nn.Module, example: Tensor) -> Wrapped:
    return Wrapped(BinsThenTime(module), example.unsqueeze(1), 3)


def time_then_bins(r: Choices, module: nn.Module, example: Tensor) -> Wrapped:
    return Wrapped(TimeThenBins(module), example.transpose(1, 2).unsqueeze(1).contiguous(), 2)


def several_outputs(r: Choices, module: nn.Module, example: Tensor) -> Wrapped:
    with torch.no_grad():
        width = module(example.clone()).shape[1]
    kind = r.choice(("tuple", "rectified", "seen", "list"))
    return Wrapped(Heads(module, width, kind), example, 2)


WRAPPERS: tuple[Wrapper, ...] = (channels_last, bins_then_time, time_then_bins, several_outputs)
