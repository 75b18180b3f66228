"""A causal network of depthwise-separable convolutions, written for whole recordings; its streaming form is found."""

# ruff: noqa: D102  (forward is what torch.nn documents)
from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CausalConv(nn.Conv1d):
    """A convolution in time that sees the present and the past only."""

    def forward(self, x: Tensor) -> Tensor:
        past = (self.kernel_size[0] - 1) * self.dilation[0]
        return super().forward(F.pad(x, (past, 0)))


class RoundingNoise(nn.Module):
    """Adds uniform noise in training, as wide as `share` of the largest value; the identity otherwise.

    int8 rounds every activation to one of 256 steps. A network that was trained under noise of that size decides alike
    before and after quantization.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        low, high = x.detach().aminmax()
        # The same for all of a batch: an eighth of the time of a training step went into drawing it for each.
        noise = torch.rand(x.shape[1:], dtype=x.dtype, device=x.device) - 0.5
        return x + self.share * torch.maximum(-low, high) * noise


class Block(nn.Module):
    """A depthwise convolution in time and a pointwise one over channels, with a skip connection around both.

    Only the pointwise convolution is normalised: batch norm folded into the depthwise one would spread the weights of
    its channels too far for one int8 scale.
    """

    def __init__(self, channels: int, kernel: int, dilation: int, noise: float) -> None:
        super().__init__()
        self.depthwise = CausalConv(channels, channels, kernel, dilation=dilation, groups=channels, bias=False)
        self.pointwise = nn.Conv1d(channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm1d(channels)
        self.noise = RoundingNoise(noise)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.pointwise(self.noise(self.depthwise(x))))
        return cast("Tensor", self.noise(F.relu(x + y)))


class CausalConv2d(nn.Conv2d):
    """A convolution over bands and time, every second band of its output kept; causal in time."""

    def __init__(self, maps_in: int, maps_out: int) -> None:
        super().__init__(maps_in, maps_out, 3, stride=(2, 1), bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (2, 0, 1, 1)))


class BandStem(nn.Module):
    """Bands [batch, bands, frames] -> channels [batch, channels, frames], the same filters for all bands.

    A voice that is higher, or a longer vocal tract, moves a word along the bands. Filters that are shared along them know it
    there, too, which a convolution in time alone has to learn band by band.

    Args:
        bands: of a frame; halved by each of the convolutions.
        maps: filters of each convolution.
        channels: channels behind them.
    """

    def __init__(self, bands: int, maps: Sequence[int], channels: int) -> None:
        super().__init__()
        sizes = [1, *maps]
        self.convs = nn.ModuleList(CausalConv2d(*pair) for pair in zip(sizes, maps, strict=False))
        self.norms = nn.ModuleList(nn.BatchNorm2d(size, eps=EPS) for size in maps)
        for _ in maps:
            bands = (bands + 1) // 2
        self.mix = nn.Conv1d(bands * sizes[-1], channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, None]
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.relu(norm(conv(x)))
        return cast("Tensor", self.mix(x.flatten(1, 2)))


# The large eps bounds the gain of channels that vary little. Folded into the weights of a stem, it would make theirs many
# times larger than all others, for which the one int8 scale is too coarse.
EPS = 0.1


class KeywordTcn(nn.Module):
    """Log-mel frames [batch, bands, frames] -> logits per frame [batch, classes, frames].

    The logits of a frame say which word has just ended. Every layer is causal and nothing is pooled over time, so the
    export finds by itself how to run the network window by window.

    Args:
        bands: mel bands of a frame.
        classes: logits of a frame.
        channels: channels inside.
        kernel: frames that a depthwise convolution combines.
        dilations: one block for each.
        maps: filters of the convolutions over bands and time that come first; none: one convolution in time.
        noise: of `RoundingNoise`, as a share of the largest value.
    """

    def __init__(
        self,
        bands: int,
        classes: int,
        channels: int,
        kernel: int,
        dilations: Sequence[int],
        maps: Sequence[int] = (),
        noise: float = 1 / 32,
    ) -> None:
        super().__init__()
        self.stem = BandStem(bands, maps, channels) if maps else CausalConv(bands, channels, 3, bias=False)
        self.norm = nn.BatchNorm1d(channels, eps=EPS)
        self.blocks = nn.Sequential(*(Block(channels, kernel, dilation, noise) for dilation in dilations))
        self.head = nn.Conv1d(channels, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        return cast("Tensor", self.head(self.blocks(x)))
