"""Integers that ESP-DL only passes on have one exponent before and behind the operator."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from lightning_esp import Quantization, Streaming, calibrate, convert, quantize
from lightning_esp.errors import ProofError
from lightning_esp.quantization import Worker
from lightning_esp.quantization.surgery import dump_graph, load_graph
from lightning_esp.verification.verify import prove_integers
from tests.models.pieces import Function, randomise
from tests.models.proved import prove


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


CLIPS = [torch.randn(8, 44, generator=torch.Generator().manual_seed(i)) for i in range(8)]


def deviation_of_channels() -> nn.Module:
    """The square of a difference is calibrated as two operands."""

    def forward(m: nn.Module, x: Tensor) -> Tensor:
        y = torch.relu(m.conv(x))
        return (y - y.std(1, keepdim=True)).mean(2)

    return Function(forward, conv=nn.Conv1d(8, 16, 3, padding=1))


def deviation_of_a_clip() -> nn.Module:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        y = torch.relu(m.conv(nn.functional.pad(x, (2, 0))))
        return m.head(torch.cat([y.mean(2), y.std(2)], 1))

    return Function(forward, conv=nn.Conv1d(8, 16, 3), head=nn.Linear(32, 4))


DEVIATIONS = {"channels": deviation_of_channels, "clip": deviation_of_a_clip}


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(1)
    return make().eval()


@pytest.mark.parametrize("over", DEVIATIONS)
@pytest.mark.parametrize("method", ["kl", "percentile"])
def test_a_square_has_one_scale_for_both_operands(over: str, method: str, worker: Worker) -> None:
    quantization = Quantization(method=method)  # type: ignore[arg-type]
    prove(seeded(DEVIATIONS[over]), CLIPS, worker, Streaming(time_axis=2), 6.0, quantization)


def test_a_square_of_two_scales_fails_integer_parity(worker: Worker) -> None:
    module = seeded(deviation_of_channels)
    model = convert(module, CLIPS[0], Streaming(time_axis=2))
    quantized = quantize(model, calibrate(model, CLIPS), Quantization(method="kl"), "esp32s3", worker=worker)
    graph = load_graph(quantized.graph)
    square = next(op for op in graph.topological_sort() if op.type == "Mul" and op.inputs[0] is op.inputs[1])
    second = square.input_quant_config[1]
    second._dominator = second
    second.scale = square.input_quant_config[0].scale / 2
    faulty = replace(quantized, graph=dump_graph(graph))
    with pytest.raises(ProofError, match="files window by window equal"):
        prove_integers(faulty, CLIPS, worker)
