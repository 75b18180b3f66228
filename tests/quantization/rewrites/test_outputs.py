"""An output that is read inside the graph as well survives esp-ppq's fusions."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lightning_esp import calibrate, convert, quantize
from lightning_esp.quantization import Worker
from lightning_esp.verification.verify import prove_graph, prove_integers
from tests.models.pieces import Function

Forward = Callable[..., tuple[Tensor, ...]]


def gate(m: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    y = m.conv(x)
    return y * torch.sigmoid(y), torch.sigmoid(y)


def layer(m: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    y = m.plain(x)
    return y, m.norm(y)


@pytest.mark.parametrize("forward", [gate, layer])
def test_both_outputs_are_quantized(worker: Worker, forward: Forward) -> None:
    torch.manual_seed(0)
    layers = {"conv": nn.Conv1d(4, 3, 1), "plain": nn.Conv1d(4, 3, 1, bias=False), "norm": nn.BatchNorm1d(3)}
    recordings = [torch.randn(4, 30, generator=torch.Generator().manual_seed(seed)) for seed in range(2)]
    model = convert(Function(forward, **layers).eval(), recordings[0])
    quantized = quantize(model, calibrate(model, recordings), worker=worker)
    assert prove_graph(model, quantized, recordings, worker)[0].figure < 1e-5
    assert all(proof.passed for proof in prove_integers(quantized, recordings, worker).proofs)
