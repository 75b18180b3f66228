"""A causal network of depthwise-separable convolutions, with its streaming form written by hand.

The hand-written contract: `streaming_forward(x, *caches) -> (output, *new_caches)` computes one window, and
`streaming_caches()` names the shape (channels, frames) of every cache, in the same order.
"""

# ruff: noqa: D102  (see the contract above)
from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CausalConv(nn.Conv1d):
    """A convolution in time that sees the present and the past only."""

    @property
    def past(self) -> int:
        """Past frames that one output frame needs."""
        return (self.kernel_size[0] - 1) * self.dilation[0]

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (self.past, 0)))

    def streaming_forward(self, x: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        joined = torch.cat([cache, x], dim=2)
        return super().forward(joined), joined[:, :, -self.past :]

    def streaming_caches(self) -> dict[str, tuple[int, int]]:
        return {"cache": (self.in_channels, self.past)}


class Block(nn.Module):
    """A depthwise convolution in time and a pointwise one over channels, with a skip connection around both.

    Only the pointwise convolution is normalised: batch norm folded into the depthwise one would spread the weights of
    its channels too far for one int8 scale.
    """

    def __init__(self, channels: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.depthwise = CausalConv(channels, channels, kernel, dilation=dilation, groups=channels, bias=False)
        self.pointwise = nn.Conv1d(channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.norm(self.pointwise(self.depthwise(x))))

    def streaming_forward(self, x: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        y, new_cache = self.depthwise.streaming_forward(x, cache)
        return F.relu(x + self.norm(self.pointwise(y))), new_cache

    def streaming_caches(self) -> dict[str, tuple[int, int]]:
        return self.depthwise.streaming_caches()


class KeywordTcn(nn.Module):
    """Log-mel frames [batch, bands, frames] -> logits per frame [batch, classes, frames].

    The logits of a frame say which word has just ended. Nothing is pooled over time, so the network also runs window
    by window: `streaming_forward` takes the next frames and, per convolution, the past frames that it needs.
    """

    def __init__(self, bands: int, classes: int, channels: int, kernel: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.stem = CausalConv(bands, channels, 3, bias=False)
        self.norm = nn.BatchNorm1d(channels)
        self.blocks = cast("list[Block]", nn.ModuleList(Block(channels, kernel, dilation) for dilation in dilations))
        self.head = nn.Conv1d(channels, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        return cast("Tensor", self.head(x))

    def streaming_forward(self, x: Tensor, *caches: Tensor) -> tuple[Tensor, ...]:
        x, new_cache = self.stem.streaming_forward(x, caches[0])
        x, new_caches = F.relu(self.norm(x)), [new_cache]
        for block, cache in zip(self.blocks, caches[1:], strict=True):
            x, new_cache = block.streaming_forward(x, cache)
            new_caches.append(new_cache)
        return self.head(x), *new_caches

    def streaming_caches(self) -> dict[str, tuple[int, int]]:
        parts = {"stem": self.stem} | {f"block_{n}": block for n, block in enumerate(self.blocks)}
        return {name: part.streaming_caches()["cache"] for name, part in parts.items()}
