"""Keyword spotting in the form of ESP-DL's tutorial: three parts, each with a streaming form written by hand.

    python recipes/tutorial_tcn.py fit

One part runs per frame, so that no frame costs as much as the whole network: the window is three frames, and each part
becomes a stage, an `.espdl` file of its own. Compare `kws_tcn.py`, whose network has no `streaming_forward` at all; by
hand it is needed only where `convert` refuses a network.

The contract of each part: `streaming_forward(x, *caches) -> (output, *new_caches)` computes one window, and
`streaming_caches()` names the shape (channels, frames) of every cache, in the same order.
"""

# ruff: noqa: D102  (see the contract above)
from __future__ import annotations

from typing import Any, cast

import torch
from spotter import Spotter, run_recipe
from torch import Tensor, nn
from torch.nn import functional as F


class Gather(nn.Module):
    """The first part: a gated depthwise convolution over the past, and a skip connection around it."""

    def __init__(self, bands: int, channels: int, expanded: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.past = (kernel - 1) * dilation
        self.stem = nn.Conv1d(bands, channels, 1)
        self.expand = nn.Sequential(nn.Conv1d(channels, expanded, 1), nn.BatchNorm1d(expanded), nn.SiLU())
        self.depthwise = nn.Conv1d(expanded, expanded, kernel, dilation=dilation, groups=expanded)
        self.gate = nn.Sequential(
            nn.Conv1d(expanded, expanded // 4, 1), nn.ReLU(), nn.Conv1d(expanded // 4, expanded, 1), nn.Sigmoid()
        )
        self.project = nn.Conv1d(expanded, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return x + self.combine(F.pad(self.expand(x), (self.past, 0)))

    def streaming_forward(self, x: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(x)
        joined = torch.cat([cache, self.expand(x)], dim=2)
        return x + self.combine(joined), joined[:, :, -self.past :]

    def streaming_caches(self) -> dict[str, tuple[int, int]]:
        return {"cache": (self.depthwise.in_channels, self.past)}

    def combine(self, frames: Tensor) -> Tensor:
        """Compute the block's output from frames with their past in front."""
        y = F.silu(self.depthwise(frames))
        return cast("Tensor", self.project(y * self.gate(y)))


class Mix(nn.Module):
    """The second part: channels are mixed frame by frame, so it needs no cache and streams as it is."""

    def __init__(self, channels: int, expanded: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv1d(channels, expanded, 1), nn.ReLU(), nn.Conv1d(expanded, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + cast("Tensor", self.layers(x))

    def streaming_forward(self, x: Tensor) -> Tensor:
        return self.forward(x)


class Decide(nn.Module):
    """The third part: a full convolution over the past, and the logits."""

    def __init__(self, channels: int, classes: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.past = (kernel - 1) * dilation
        self.conv = nn.Conv1d(channels, channels, kernel, dilation=dilation, bias=False)
        self.norm = nn.BatchNorm1d(channels)
        self.head = nn.Conv1d(channels, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.head(x + F.silu(self.norm(self.conv(F.pad(x, (self.past, 0)))))))

    def streaming_forward(self, x: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        joined = torch.cat([cache, x], dim=2)
        return self.head(x + F.silu(self.norm(self.conv(joined)))), joined[:, :, -self.past :]

    def streaming_caches(self) -> dict[str, tuple[int, int]]:
        return {"cache": (self.conv.in_channels, self.past)}


class TutorialSpotter(Spotter):
    """Trains the three parts in a row on labelled clips.

    Args:
        labels: the classes, in the order of the network's outputs; the command line takes them from the data.
        bands: mel bands of a frame.
        channels: channels between the parts.
        expanded: channels inside the first two.
        kernel: frames that a convolution combines.
        dilation: frames from one of these to the next.
        options: of `Spotter`.
    """

    def __init__(
        self,
        labels: list[str],
        bands: int = 32,
        channels: int = 64,
        expanded: int = 128,
        kernel: int = 9,
        dilation: int = 4,
        **options: Any,
    ) -> None:
        network = nn.Sequential()
        network.add_module("gather", Gather(bands, channels, expanded, kernel, dilation))
        network.add_module("mix", Mix(channels, expanded))
        network.add_module("decide", Decide(channels, len(labels), kernel, dilation))
        super().__init__(labels, network, bands, **options)


if __name__ == "__main__":
    run_recipe(TutorialSpotter, __file__)
