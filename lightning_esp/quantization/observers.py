"""esp-ppq's observers of activations: where a graph takes one window at a time, and where only a range will do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from esp_ppq.api.setting import QuantizationSetting
from esp_ppq.IR import BaseGraph
from esp_ppq.quantization.observer.range import TorchPercentileObserver


@contextmanager
def joined(windows: int) -> Iterator[None]:
    """Within it, a percentile is taken of this many windows at once.

    Of one window it is its largest value, and esp-ppq averages over what it sees: half of the windows would be clipped.

    Args:
        windows: how many; 1 leaves esp-ppq as it is.
    """
    observe, render = TorchPercentileObserver.observe, TorchPercentileObserver.render_quantization_config

    def pass_on(observer: TorchPercentileObserver) -> None:
        waiting = vars(observer).pop("_waiting", [])
        if waiting:
            observe(observer, torch.cat(waiting))

    def collect(observer: TorchPercentileObserver, value: torch.Tensor) -> None:
        waiting = vars(observer).setdefault("_waiting", [])
        waiting.append(value.flatten())
        if len(waiting) >= windows:
            pass_on(observer)

    def finish(observer: TorchPercentileObserver) -> None:
        pass_on(observer)
        render(observer)

    if windows > 1:
        TorchPercentileObserver.observe, TorchPercentileObserver.render_quantization_config = collect, finish
    try:
        yield
    finally:
        TorchPercentileObserver.observe, TorchPercentileObserver.render_quantization_config = observe, render


def keep_ranges(graph: BaseGraph, setting: QuantizationSetting) -> None:
    """Calibrate what a scale and shift per channel writes by its range.

    Behind a ReLU it turns the many zeros into one other value per channel, and a divergence clips whatever lies beyond them.
    """
    for operation in graph.operations.values():
        weight = operation.inputs[1].value if operation.type == "Conv" else None
        if weight is None or not weight.shape[0] == weight.numel() == operation.attributes.get("group", 1):
            continue
        # What it is joined with, its past frames say, takes the range of the whole.
        joined = [reader for reader in operation.outputs[0].dest_ops if reader.type == "Concat"]
        for found in (operation, *joined):
            setting.quantize_activation_setting.calib_algorithm_per_layer[found.name] = "minmax"
