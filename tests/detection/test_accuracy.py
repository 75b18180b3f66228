"""Accuracy with the state carried over and with the state reset: a network that remembers for too long loses by it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lightning_esp import Calibration, Streaming, calibrate, convert, quantize
from lightning_esp.detection import StreamingClipAccuracy, streaming_accuracy
from lightning_esp.errors import ConfigurationError, DataError
from lightning_esp.inspection.simulator import Simulation
from lightning_esp.quantization import Worker


def make_clips(count: int = 12) -> tuple[list[Tensor], list[int]]:
    """Two classes, told by the sign of the first channel; lengths differ."""
    random = torch.Generator().manual_seed(0)
    targets = [number % 2 for number in range(count)]
    sizes = [60 - 3 * number for number in range(count)]
    pairs = zip(sizes, targets, strict=True)
    return [
        0.2 * torch.randn(2, size, generator=random) + (2 * t - 1) * torch.tensor([[1.0], [0]]) for size, t in pairs
    ], targets


class Leaky(nn.Module):
    """Sums its input with a decay: near 1 it still hears the clip before."""

    def __init__(self, decay: float) -> None:
        super().__init__()
        self.decay = decay

    def forward(self, x: Tensor) -> Tensor:
        state, outputs = x.new_zeros(()), []
        for value in x[0]:
            state = self.decay * state + value
            outputs.append(state)
        scores = torch.stack(outputs)
        return torch.stack([-scores, scores])


def test_a_network_that_forgets_loses_nothing() -> None:
    clips, targets = make_clips()
    found = streaming_accuracy(Leaky(0.5), clips, targets, frames=5)
    assert (found.carried, found.reset, found.clips) == (1.0, 1.0, 12)


def test_a_network_that_never_forgets_loses_by_what_was_before() -> None:
    clips, targets = make_clips()
    found = streaming_accuracy(Leaky(1.0), clips, targets, frames=5)
    assert found.reset == 1.0
    # A clip that is shorter than the one before cannot turn the sign of the sum.
    whole = Leaky(1.0)(torch.cat(clips, 1))
    ends = torch.tensor([clip.shape[1] for clip in clips]).cumsum(0).tolist()
    expected = (
        sum(int(whole[:, end - 5 : end].mean(1).argmax()) == t for end, t in zip(ends, targets, strict=True)) / 12
    )
    assert found.carried == expected < 1.0


def test_the_metric_counts_the_same() -> None:
    clips, targets = make_clips()
    model = Leaky(0.9995)
    whole, start = model(torch.cat(clips, 1)), 0
    metric = StreamingClipAccuracy(frames=5)
    for clip, target in zip(clips, targets, strict=True):
        metric.update(whole[:, start : start + clip.shape[1]], model(clip), target)
        start += clip.shape[1]
    expected = streaming_accuracy(model, clips, targets, frames=5)
    figures = metric.compute()
    assert float(figures["streaming_accuracy"]) == pytest.approx(expected.carried)
    assert float(figures["clip_accuracy"]) == pytest.approx(expected.reset)
    assert 0 < expected.carried < expected.reset


def test_the_integers_of_a_network_can_be_asked(worker: Worker) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv1d(2, 2, 2, stride=2))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[[-1.0, -1.0], [0.1, 0.1]], [[1.0, 1.0], [0.0, 0.1]]]))
    clips, targets = make_clips()
    model = convert(network, clips[0], Streaming(window=2))
    quantized = quantize(model, calibrate(model, clips, Calibration()), worker=worker)
    found = streaming_accuracy(Simulation(quantized).run, clips, targets, frames=4)
    assert (found.carried, found.reset) == (1.0, 1.0)


def test_what_cannot_be_decided_is_named() -> None:
    clips, targets = make_clips()
    with pytest.raises(DataError, match="12 clips and 11 targets"):
        streaming_accuracy(Leaky(0.5), clips, targets[1:], frames=5)
    with pytest.raises(DataError, match=r"\[2, 60\] do not hold 61 frames"):
        streaming_accuracy(Leaky(0.5), clips, targets, frames=61)
    with pytest.raises(ConfigurationError, match="must be at least 1"):
        StreamingClipAccuracy(0)
