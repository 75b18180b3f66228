"""Sums and joined tensors hold what they are made of, and what is only passed on keeps its scale."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_esp import Quantization, QuantizedModel, Streaming, calibrate, convert, quantize
from lightning_esp.espdl import read_espdl
from lightning_esp.quantization import Worker
from lightning_esp.simulation import QuantizedStreaming
from lightning_esp.verification.verify import prove_graph, prove_integers
from tests.models.pieces import Function

Forward = Callable[..., Tensor]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def ratio(module: nn.Module, quantized: QuantizedModel, recording: Tensor) -> float:
    with torch.no_grad():
        offline, streamed = module(recording[None]), QuantizedStreaming(quantized)(recording[None])
    return float(10 * torch.log10(offline.square().sum() / (streamed - offline).square().sum()))


def build(module: nn.Module, worker: Worker, recordings: list[Tensor], axis: int, **options: str) -> QuantizedModel:
    """Quantize and prove."""
    model = convert(module, recordings[0], Streaming(time_axis=axis))
    quantized = quantize(model, calibrate(model, recordings), Quantization(**options), worker=worker)  # type: ignore[arg-type]
    prove_graph(model, quantized, recordings, worker)
    assert all(proof.passed for proof in prove_integers(quantized, recordings, worker).proofs)
    return quantized


def with_conv(forward: Forward) -> nn.Module:
    torch.manual_seed(0)
    return Function(forward, c=nn.Conv1d(6, 5, 1), d=nn.Conv1d(6, 5, 1))


def half_of(m: nn.Module, x: Tensor) -> Tensor:
    y = m.c(x)
    return y - 0.9 * y


# The function, and the signal to noise in decibels that int8 and int16 must reach.
CANCELLING: dict[str, tuple[Forward, float, float]] = {
    "difference": (half_of, 14, 60),
    "sum": (lambda m, x: m.c(x) + -0.9 * m.c(x), 14, 60),
    "sum of three": (lambda m, x: (m.c(x) + m.d(x)) - 0.95 * m.c(x) - m.d(x), 5, 50),
    "a ReLU that keeps little": (lambda m, x: F.relu(m.c(x) - 0.7 * m.c(x) - 0.3), 14, 60),
    "a constant that is taken away again": (lambda m, x: (m.c(x) + 20) - 20.5, 6, 50),
    "a loud tensor in a quiet company": (
        lambda m, x: torch.cat([*[0.05 * m.c(x)] * 8, 8 * m.d(x)], 1), 20, 60),
}  # fmt: skip


@pytest.mark.parametrize("precision", ["int8", "int16"])
@pytest.mark.parametrize("name", CANCELLING)
def test_a_small_result_does_not_clip_its_operands(worker: Worker, name: str, precision: str) -> None:
    forward, low, high = CANCELLING[name]
    module, recordings = with_conv(forward), [noise(6, 60, seed=seed) for seed in range(2)]
    quantized = build(module, worker, recordings, 2, precision=precision)
    assert ratio(module, quantized, recordings[0]) > (low if precision == "int8" else high)
    for operator in read_espdl(quantized.stages[0].data).operators:
        if operator.type in ("Add", "Sub", "Concat"):
            tensors = read_espdl(quantized.stages[0].data).tensors
            assert len({tensors[tensor].exponent for tensor in (*operator.inputs, *operator.outputs)}) == 1


def test_a_residual_sum_keeps_its_own_scale(worker: Worker) -> None:
    module, recordings = with_conv(lambda m, x: m.c(x) + m.d(x)), [noise(6, 60)]
    quantized = build(module, worker, recordings, 2, method="minmax")
    with torch.no_grad():
        peak = float(module(recordings[0][None]).abs().max())
    (output,) = quantized.stages[0].outputs
    assert 127 * 2.0**output.exponent >= peak > 63 * 2.0**output.exponent


PASSED_ON: dict[str, Forward] = {
    "padding": lambda m, x: m.conv(F.pad(x, (1, 1), value=0.5)),
    "largest": lambda m, x: m.conv(x).amax(3) + x.amax(3)[:, :1],
    "smallest": lambda m, x: x.amin(3),
    "slices": lambda m, x: x[..., 0] + 0.1 * x[..., 1],
    "two readers": lambda m, x: m.conv(x) * 0.1 + x[:, :1, :, 2:] * x[:, 1:2, :, 2:],
    "pooled": lambda m, x: F.max_pool2d(x, (1, 2)) - F.max_pool2d(x, (1, 2)).amin(3, keepdim=True),
}


@pytest.mark.parametrize("method", ["kl", "mse", "percentile", "minmax"])
@pytest.mark.parametrize("name", PASSED_ON)
def test_what_passes_a_model_input_on_keeps_its_scale(worker: Worker, name: str, method: str) -> None:
    torch.manual_seed(0)
    module = Function(PASSED_ON[name], conv=nn.Conv2d(4, 3, (1, 3)))
    build(module, worker, [noise(4, 24, 10, seed=seed) for seed in range(2)], 2, method=method)


@pytest.mark.parametrize("name", PASSED_ON)
def test_what_passes_a_model_input_on_keeps_its_scale_in_int16(worker: Worker, name: str) -> None:
    torch.manual_seed(0)
    module = Function(PASSED_ON[name], conv=nn.Conv2d(4, 3, (1, 3)))
    build(module, worker, [noise(4, 24, 10, seed=seed) for seed in range(2)], 2, precision="int16")
