"""PRelu with one slope, and with one per channel."""

from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import nn

from lightning_esp import Quantization, calibrate, convert, quantize
from lightning_esp.quantization import Worker
from lightning_esp.verification.verify import prove_integers
from tests.models.proved import KEEP_RANGE, prove
from tests.quantization.rewrites.written import assert_same, types


def test_one_slope_is_a_leaky_relu() -> None:
    x = torch.randn(2, 6, 7, generator=torch.Generator().manual_seed(0))
    assert types(assert_same(nn.PReLU(init=0.3), x)) == ["LeakyRelu"]
    assert types(assert_same(nn.PReLU(6, init=0.3), x)) == ["LeakyRelu"]


@pytest.mark.parametrize("shape", [(6, 7), (6, 7, 3)])
def test_slopes_that_differ_become_products(shape: tuple[int, ...]) -> None:
    layer = nn.PReLU(6)
    layer.weight.data.copy_(torch.tensor([0.25, 0.5, 1.5, -0.25, 0.0, 1.0]))
    assert types(assert_same(layer, torch.randn(2, *shape))) == ["Relu", "Mul", "Mul", "Add"]


@pytest.mark.parametrize("precision", ["int8", "int16"])
def test_slopes_that_differ_are_proved(worker: Worker, precision: Literal["int8", "int16"]) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv1d(6, 6, 1), nn.PReLU(6), nn.Conv1d(6, 3, 1)).eval()
    module[1].weight.data.uniform_(0.05, 0.5)  # type: ignore[union-attr, operator]
    wanted = replace(KEEP_RANGE, precision=precision)
    prove(module, [torch.randn(6, 40), torch.randn(6, 30)], worker, least_decibels=25, quantization=wanted)


def test_one_slope_in_int16(worker: Worker) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv1d(6, 6, 1), nn.PReLU(), nn.Conv1d(6, 3, 1)).eval()
    recordings = [torch.randn(6, 40), torch.randn(6, 30)]
    model = convert(module, recordings[0])
    quantized = quantize(model, calibrate(model, recordings), Quantization(precision="int16"), worker=worker)
    assert all(proof.passed for proof in prove_integers(quantized, recordings, worker).proofs)
