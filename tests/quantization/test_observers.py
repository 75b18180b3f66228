"""Percentiles of graphs that take one window at a time."""

from collections.abc import Sequence

import pytest
import torch
from esp_ppq.IR import Variable
from esp_ppq.lib import LinearQuantizationConfig
from esp_ppq.quantization.observer.range import TorchPercentileObserver
from torch import Tensor

from lightning_esp.quantization.observers import joined


def scale(values: Sequence[Tensor], windows: int) -> float:
    """The scale that esp-ppq takes from what it sees one after the other."""
    config = LinearQuantizationConfig(symmetrical=True, power_of_2=False, calibration="percentile")
    with joined(windows):
        observer = TorchPercentileObserver(Variable("x"), config)
        for value in values:
            observer.observe(value)
        observer.render_quantization_config()
    return float(config.scale)


def test_windows_one_by_one_give_the_range_of_whole_batches() -> None:
    generator = torch.Generator().manual_seed(0)
    # Every other window is quiet, as speech is.
    windows = [torch.randn(1, 8, generator=generator) * (0.01 if i % 2 else 1.0) for i in range(21)]
    batches = [torch.cat(windows[i : i + 8]) for i in (0, 8, 16)]
    whole = scale(batches, 1)
    assert scale(windows, 8) == pytest.approx(whole)
    # What esp-ppq does by itself.
    assert scale(windows, 1) < 0.7 * whole
    observe = TorchPercentileObserver.observe
    with pytest.raises(ZeroDivisionError), joined(8):
        raise ZeroDivisionError
    assert TorchPercentileObserver.observe is observe
