"""What random architectures are made of: small modules, and how a piece of one is described."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import torch.nn.functional as F
from torch import Tensor, nn


class Function(nn.Module):
    """A forward given as a function, with its layers as attributes."""

    def __init__(self, function: Callable[..., Tensor], **layers: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


class CausalConv(nn.Conv1d):
    """A subclass that pads in its own forward."""

    def forward(self, input: Tensor) -> Tensor:
        assert input.ndim == 3, "channels and time"
        return super().forward(F.pad(input, ((self.kernel_size[0] - 1) * self.dilation[0], 0)))


class Chomp(nn.Module):
    """Cuts what a symmetric padding added at the end."""

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.frames = frames

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, : -self.frames].contiguous() if self.frames else x


@dataclass(frozen=True)
class Piece:
    """A module from `channels` to `channels_out`, with `up / stride` output frames per input frame."""

    module: nn.Module
    channels: int
    stride: int = 1
    up: int = 1


Maker = Callable[[Random, int], Piece]


def draw_width(r: Random) -> int:
    return r.choice((2, 3, 4, 6))
