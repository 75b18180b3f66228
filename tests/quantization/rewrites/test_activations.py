"""PRelu with one slope."""

import torch
from torch import nn

from lightning_esp import Quantization, calibrate, convert, quantize
from lightning_esp.quantization import Worker
from lightning_esp.verification.verify import prove_integers
from tests.quantization.rewrites.written import assert_same, rewritten, types


def test_one_slope_is_a_leaky_relu() -> None:
    x = torch.randn(2, 6, 7, generator=torch.Generator().manual_seed(0))
    assert types(assert_same(nn.PReLU(init=0.3), x)) == ["LeakyRelu"]
    assert types(assert_same(nn.PReLU(6, init=0.3), x)) == ["LeakyRelu"]


def test_slopes_that_differ_stay() -> None:
    layer = nn.PReLU(6)
    layer.weight.data[2] = 0.5
    assert types(rewritten(layer, torch.randn(2, 6, 7))) == ["PRelu"]


def test_one_slope_in_int16(worker: Worker) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv1d(6, 6, 1), nn.PReLU(), nn.Conv1d(6, 3, 1)).eval()
    recordings = [torch.randn(6, 40), torch.randn(6, 30)]
    model = convert(module, recordings[0])
    quantized = quantize(model, calibrate(model, recordings), Quantization(precision="int16"), worker=worker)
    assert all(proof.passed for proof in prove_integers(quantized, recordings, worker).proofs)
