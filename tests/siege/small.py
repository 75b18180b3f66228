"""The small network that is exported under siege."""

from __future__ import annotations

from torch import nn


def make_net() -> nn.Module:
    """Three layers over four channels, of torch's next random numbers."""
    return nn.Sequential(nn.ConstantPad1d((2, 0), 0.0), nn.Conv1d(4, 8, 3), nn.ReLU(), nn.Conv1d(8, 3, 1))
