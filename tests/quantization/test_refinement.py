"""Refinements of esp-ppq: less noise at the same cost, with every proof, on graphs with caches and residuals."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_esp import Quantization, Streaming, calibrate, convert, quantize
from lightning_esp.errors import QuantizationError
from lightning_esp.precision.output_noise import decibels, measure_outputs, prepare_reference
from lightning_esp.quantization import QuantizedModel, Worker
from lightning_esp.verification.verify import verify
from tests.models.tutorial_tcn import shake

METHODS = ["bias_correction", "adaround", "tqt"]


class Residual(nn.Module):
    """Features with a mean far from zero, a convolution with a cache beside what skips it, and outliers among the weights.

    An outlier makes the one scale of its layer coarse, so that the rounding of all its other weights is what is heard.
    """

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.depthwise = nn.Conv1d(16, 24, 1), nn.Conv1d(24, 24, 5, groups=24)
        self.pointwise, self.head = nn.Conv1d(24, 24, 1), nn.Conv1d(24, 4, 1)
        shake(self)
        with torch.no_grad():
            for layer in (self.first, self.pointwise, self.head):
                layer.weight[0, 0, 0] = 8 * layer.weight.abs().max()

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x + 2.0))
        return self.head(F.relu(x + self.pointwise(self.depthwise(F.pad(x, (4, 0))))))


def recordings() -> list[Tensor]:
    return list(torch.randn(6, 16, 60, generator=torch.Generator().manual_seed(1)))


def refined(worker: Worker, quantization: Quantization, target: str = "esp32s3", **streaming: object) -> QuantizedModel:
    """The network quantized, once all proofs hold."""
    module = Residual()
    model = convert(module, recordings()[0], Streaming(window=2, **streaming))  # type: ignore[arg-type]
    quantized = quantize(model, calibrate(model, recordings()), quantization, target, worker=worker)
    verify(module, model, quantized, recordings(), worker=worker)
    return quantized


def ratio(worker: Worker, quantized: QuantizedModel) -> float:
    model = convert(Residual(), recordings()[0], Streaming(window=2))
    noise = measure_outputs(quantized, prepare_reference(model, recordings()), worker)
    return decibels(max(noise.values())) or float("inf")


@pytest.fixture(scope="module")
def plain(worker: Worker) -> QuantizedModel:
    return refined(worker, Quantization(method="minmax"))


@pytest.mark.parametrize("method", METHODS)
def test_a_refinement_gains_and_costs_nothing_on_the_chip(worker: Worker, plain: QuantizedModel, method: str) -> None:
    found = refined(worker, Quantization(method="minmax", refinement=method))  # type: ignore[arg-type]
    assert ratio(worker, found) > ratio(worker, plain) + 0.3
    assert found.estimate == plain.estimate
    assert [t.exponent for s in found.stages for t in s.tensors] == [
        t.exponent for s in plain.stages for t in s.tensors
    ]


def test_the_same_is_found_twice(worker: Worker) -> None:
    once, again = (refined(worker, Quantization(refinement="adaround")) for _ in range(2))
    assert [stage.data for stage in once.stages] == [stage.data for stage in again.stages]


@pytest.mark.parametrize("method", METHODS)
def test_it_works_beside_int16_across_cuts_and_with_scales_per_channel(worker: Worker, method: str) -> None:
    cut = refined(worker, Quantization(refinement=method), "esp32p4", stages=2, caches="native")  # type: ignore[arg-type]
    assert sum(len(stage.native_caches) for stage in cut.stages) == 1
    mixed = Quantization(int16=("pointwise",), refinement=method)  # type: ignore[arg-type]
    assert refined(worker, mixed, "esp32p4").stages[0].data != refined(worker, mixed).stages[0].data


class Cell(nn.Module):
    """A recurrent layer alone."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(8, 8, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.gru(x)[0]


@pytest.mark.parametrize("method", METHODS)
def test_nothing_to_refine_is_an_error(worker: Worker, method: str) -> None:
    torch.manual_seed(0)
    given = list(torch.randn(3, 20, 8))
    model = convert(Cell().eval(), given[0], Streaming(window=2))
    with pytest.raises(QuantizationError, match=rf"refinement='{method}'\) found no convolution"):
        quantize(model, calibrate(model, given), Quantization(refinement=method), worker=worker)  # type: ignore[arg-type]


class Between(nn.Module):
    """A recurrent layer, through which no gradient passes, between two that have weights."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.gru, self.second = nn.Linear(8, 8), nn.GRU(8, 8, batch_first=True), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.sigmoid(self.gru(torch.tanh(self.first(x)))[0]))


@pytest.mark.parametrize("method", METHODS)
def test_layers_around_what_has_no_gradient_are_refined(worker: Worker, method: str) -> None:
    torch.manual_seed(0)
    module, given = Between().eval(), list(torch.randn(3, 20, 8))
    model = convert(module, given[0], Streaming(window=2))
    samples = calibrate(model, given)
    found = quantize(model, samples, Quantization(refinement=method), worker=worker)  # type: ignore[arg-type]
    assert found.stages[0].data != quantize(model, samples, worker=worker).stages[0].data
    verify(module, model, found, given, worker=worker)
