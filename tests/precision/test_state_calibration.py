"""What is lost where the quantizer never sees a state."""

from collections.abc import Callable

import pytest
import torch

from lightning_esp import Quantization, quantize
from lightning_esp.precision import compare_state_calibration
from lightning_esp.quantization import Worker
from lightning_esp.simulation import QuantizedStreaming
from tests.models.built import Built


def test_a_memory_needs_its_states(build: Callable[..., Built], worker: Worker) -> None:
    built = build("gated_cell")
    found = compare_state_calibration(built.model, built.samples, built.quantized, built.recordings, worker=worker)
    assert found.rolled_db is not None
    assert found.zero_db is not None
    assert found.rolled_db > found.zero_db + 6
    (cache,) = found.caches
    assert cache.name == "state"
    # Half the range: the memory adds up to more than one window writes.
    assert cache.zero < cache.rolled == built.quantized.stages[0].caches[0].tensor.exponent


def test_the_figure_is_that_of_the_files(build: Callable[..., Built], worker: Worker) -> None:
    built = build("gated_cell")
    recording = built.recordings[0]
    assert isinstance(recording, torch.Tensor)
    found = compare_state_calibration(built.model, built.samples, built.quantized, [recording], worker=worker)
    with torch.no_grad():
        true = built.module(recording[None])
    noise = true - QuantizedStreaming(built.quantized)(recording[None])
    expected = 10 * torch.log10(true.square().sum() / noise.square().sum())
    assert found.rolled_db == pytest.approx(float(expected), abs=0.02)


def test_the_past_of_a_conv_shares_the_grid_of_its_present(build: Callable[..., Built], worker: Worker) -> None:
    built = build("tutorial", caches="auto")
    minmax = Quantization(method="minmax")
    quantized = quantize(built.model, built.samples, minmax, worker=worker)
    found = compare_state_calibration(built.model, built.samples, quantized, built.recordings, minmax, worker=worker)
    assert [cache.name for cache in found.caches] == ["stage0.cache", "stage2.cache"]
    assert all(cache.rolled == cache.zero for cache in found.caches)
    assert found.rolled_db == found.zero_db
