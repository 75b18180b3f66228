"""Integers that ESP-DL only passes on have one exponent before and behind the operator."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lightning_esp.quantization import Worker
from tests.models.proved import prove
from tests.models.random_architectures import Function, randomise


def negated() -> nn.Module:
    """The result has the scale of what it is joined with, the operand one of its own."""
    return Function(lambda m, x: torch.cat([-x, 4 * x], dim=1))


def upsampled() -> nn.Module:
    """Zeros go between the frames of a difference that is smaller than its operands."""

    def forward(m: nn.Module, x: Tensor) -> Tensor:
        y = m.first(x)
        return m.up(y - 0.9 * y)[..., : 3 * x.shape[-1]]

    return Function(forward, first=nn.Conv1d(2, 4, 1), up=nn.ConvTranspose1d(4, 2, 4, 3))


@pytest.mark.parametrize("make", [negated, upsampled])
def test_what_is_passed_on_keeps_its_exponent(make: Callable[[], nn.Module], worker: Worker) -> None:
    generator = torch.Generator().manual_seed(0)
    recordings = [torch.randn(2, frames, generator=generator) for frames in (50, 30)]
    prove(randomise(make(), 0).float(), recordings, worker, least_decibels=6.0)
