"""What random architectures are made of: small modules, and how a piece of one is described."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from tests.support.choices import Choices


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


Maker = Callable[["Choices", int], Piece]


def chain(pieces: Sequence[Piece]) -> Piece:
    """Pieces after each other, as one."""
    stride, up = prod(piece.stride for piece in pieces), prod(piece.up for piece in pieces)
    return Piece(nn.Sequential(*(piece.module for piece in pieces)), pieces[-1].channels, stride, up)


def draw_width(r: Choices) -> int:
    return r.choice((2, 3, 4, 6))


def takes(module: nn.Module, example: Tensor) -> bool:
    """Whether the offline forward runs on recordings of this length."""
    try:
        with torch.no_grad():
            module(example.clone())
    except RuntimeError:
        return False
    return True


def randomise(module: nn.Module, seed: int) -> nn.Module:
    """Give a module random weights, biases and batch-norm statistics, in float64 and evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            scale = 1.0 if parameter.ndim < 2 else max(1, parameter[0].numel()) ** -0.5
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype) * scale)
        for name, buffer in module.named_buffers():
            if name.endswith("running_var"):
                buffer.copy_(torch.rand(buffer.shape, generator=generator, dtype=buffer.dtype) + 0.5)
            elif name.endswith("running_mean"):
                buffer.copy_(torch.randn(buffer.shape, generator=generator, dtype=buffer.dtype))
    return module
