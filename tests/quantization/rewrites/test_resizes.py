"""Repeated frames and bins in int16, which ESP-DL's Resize leaves uncomputed."""

import pytest
import torch
from torch import nn

from lightning_esp import Quantization
from lightning_esp.quantization import Worker
from lightning_esp.quantization.rewrites.resizes import repeat_by_kernels
from tests.models.proved import prove
from tests.quantization.rewrites.written import evaluate, types, written


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Upsample(scale_factor=3), (1, 2, 5)),
        (nn.Upsample(scale_factor=(1, 2)), (1, 2, 3, 4)),
        (nn.Upsample(scale_factor=(3, 2)), (1, 3, 2, 4)),
    ],
)
def test_repeating_is_a_transposed_convolution_by_ones(module: nn.Module, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    model = repeat_by_kernels(written(module, x), lambda name: name.startswith("/stages.0/block"))
    assert types(model) == ["ConvTranspose"]
    torch.testing.assert_close(evaluate(model, (x,)), module(x))


@pytest.mark.parametrize(
    ("module", "wide"), [(nn.Upsample(scale_factor=2), False), (nn.Upsample(scale_factor=2, mode="linear"), True)]
)
def test_what_is_int8_or_repeats_nothing_stays(module: nn.Module, wide: bool) -> None:
    model = written(module, torch.randn(1, 2, 5))
    assert "Resize" in types(model)
    assert types(repeat_by_kernels(model, lambda name: wide)) == types(model)


def test_an_upsampling_network_is_proved_in_int16(worker: Worker) -> None:
    module = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv1d(2, 3, 1)).eval()
    recordings = [torch.randn(2, n, generator=torch.Generator().manual_seed(n)) for n in (40, 30)]
    prove(module, recordings, worker, least_decibels=40.0, quantization=Quantization(precision="int16"))
