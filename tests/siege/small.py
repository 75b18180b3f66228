"""The small network that is exported under siege."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from lightning_esp import Bundle, export


def make_net() -> nn.Module:
    """Three layers over four channels, of torch's next random numbers."""
    return nn.Sequential(nn.ConstantPad1d((2, 0), 0.0), nn.Conv1d(4, 8, 3), nn.ReLU(), nn.Conv1d(8, 3, 1))


def export_net(place: Path) -> Bundle:
    """Export it with weights and recordings of its own, the same each time."""
    generator = torch.Generator().manual_seed(3)
    net = make_net().float()
    for parameter in net.parameters():
        with torch.no_grad():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float32) / 3)
    recordings = [torch.randn(4, 220, generator=generator, dtype=torch.float32) for _ in range(3)]
    return export(net, recordings, place)
