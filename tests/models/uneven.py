"""Layers that int8 serves badly as they are, and well when they are equalized."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def spread_channels(up: nn.Conv1d, down: nn.Conv1d) -> None:
    """Scale the channels between two pointwise convs from 1 to 60 times; with a ReLU between, both compute the same."""
    scale = torch.logspace(0, 1, up.out_channels, base=60.0)
    assert up.bias is not None
    with torch.no_grad():
        up.weight.mul_(scale[:, None, None])
        up.bias.mul_(scale)
        down.weight.div_(scale[:, None])


def recordings() -> list[Tensor]:
    return list(torch.randn(4, 8, 40, generator=torch.Generator().manual_seed(1)))


class SeenBetween(nn.Module):
    """What lies between both layers is an output too, so it must keep its scale."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(8, 8, 1), nn.Conv1d(8, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = F.relu(self.first(x))
        return self.second(y), y
