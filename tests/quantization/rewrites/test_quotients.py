"""Quotients with an operand of one element, and of silence."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_esp import Streaming
from lightning_esp.quantization import Worker
from tests.models.pieces import Function
from tests.models.proved import prove
from tests.quantization.rewrites.written import assert_same, types


def test_an_operand_of_one_element_is_spread() -> None:
    divided = Function(lambda m, x: x / (x.mean((1, 2), keepdim=True) + 2))
    assert types(assert_same(divided, torch.rand(1, 3, 4)))[-2:] == ["Mul", "Div"]
    single = Function(lambda m, x: x / (x.square() + 2))
    assert types(assert_same(single, torch.rand(1, 1, 1)))[-4:] == ["Mul", "Mul", "Div", "Slice"]
    assert "Div" in types(whole := assert_same(single, torch.rand(1, 1, 3)))
    assert types(whole).count("Mul") == 1


class Levelled(nn.Module):
    """Every frame by its own mean, as FullSubNet does."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(6, 6, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.conv(F.pad(x, (2, 0))))
        return y / (y.mean(1, keepdim=True) + 1e-5)


@pytest.mark.parametrize("window", [1, 2])
def test_a_divisor_that_is_rounded_to_zero_gives_numbers(worker: Worker, window: int) -> None:
    torch.manual_seed(0)
    recordings = [torch.randn(6, n) for n in (24, 15)]
    # 0 / 0 in integers, where float divides 0 by eps.
    recordings[0][:, :9] = 0
    prove(Levelled().eval(), recordings, worker, Streaming(window=window), least_decibels=20)
