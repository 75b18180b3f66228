"""Which plain arithmetic at the front of a network is a normalisation by constants."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lightning_esp.frontend import find_constants

MEAN, STD = torch.tensor([[1013.0], [21.5], [-0.5]]), torch.tensor([[12.0], [4.0], [0.25]])


class Front(nn.Module):
    """Begins in one of several ways."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.register_buffer("mean", MEAN)
        self.register_buffer("std", STD)
        self.conv = nn.Conv1d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        made = {
            "divided": lambda: (x - mean) / std,
            "with epsilon": lambda: (x - mean) / (std + 1e-5),
            "multiplied": lambda: (x - mean) * (1 / std),
            "torch.sub": lambda: torch.div(torch.sub(x, mean), std),
            "by itself": lambda: (x - x.mean(2, keepdim=True)) / x.std(2, keepdim=True),
            "one number": lambda: (x - mean[0]) / std[0],
            "later": lambda: (2 * x - mean) / std,
            "no scale": lambda: x - mean,
            "zero": lambda: (x - mean) / (0 * std),
        }[self.kind]
        return self.conv(made())  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", ["divided", "with epsilon", "multiplied", "torch.sub"])
def test_constants_of_each_channel_are_found(kind: str) -> None:
    found = find_constants(Front(kind).eval(), torch.randn(3, 30))
    assert found is not None
    assert found.channel_axis == 1
    assert torch.equal(found.mean, MEAN[:, 0])
    assert torch.allclose(found.scale, STD[:, 0], rtol=1e-4)


@pytest.mark.parametrize("kind", ["by itself", "one number", "later", "no scale", "zero"])
def test_anything_else_is_none(kind: str) -> None:
    assert find_constants(Front(kind).eval(), torch.randn(3, 30)) is None
