"""Windows that a latency chooses: the cheapest per frame that keeps to it, and why."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lightning_esp import Streaming, convert
from lightning_esp.conversion.window import MAX_OPTIONS
from lightning_esp.errors import ConfigurationError, WindowError
from lightning_esp.frontend import LogMel
from lightning_esp.pipeline import tell_time
from tests.models.tutorial_tcn import TutorialTcn, shake


class Causal(nn.Module):
    """Two convolutions that look back only, the first with a stride."""

    def __init__(self, stride: int = 1, channels: int = 16) -> None:
        super().__init__()
        self.first = nn.Conv1d(channels, channels, 3, stride)
        self.second = nn.Conv1d(channels, channels, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pad = nn.functional.pad
        return self.second(pad(torch.relu(self.first(pad(x, (2, 0)))), (2, 0)))


def auto(latency: float, **options: object) -> Streaming:
    return Streaming(window="auto", latency=latency, frame_period=0.01, **options)


@pytest.mark.parametrize(("latency", "window"), [(0.011, 1), (0.05, 4), (0.0511, 5)])
def test_the_longest_window_within_the_latency_is_cheapest(latency, window):
    module = shake(Causal())
    model = convert(module, torch.randn(16, 40), auto(latency))
    assert model.window == window
    assert model.spec.choice is not None
    options = model.spec.choice.options
    assert [option.window for option in options] == list(range(1, window + 1))
    assert all(option.window * 0.01 < option.latency <= latency for option in options)
    costs = [option.frame_us for option in options]
    assert costs == sorted(costs, reverse=True)
    same = convert(module, torch.randn(16, 40), Streaming(window=window, frame_period=0.01))
    recording = torch.randn(1, 16, 37)
    assert torch.equal(model.run(recording), same.run(recording))


def test_a_window_is_a_multiple_of_the_stride_and_covers_the_stages():
    model = convert(shake(Causal(stride=2)), torch.randn(16, 40), auto(0.1))
    assert [option.window for option in model.spec.choice.options] == [2, 4, 6, 8]
    cut = convert(shake(Causal()), torch.randn(16, 40), auto(0.05, stages=2))
    # One step more until the second stage has run.
    assert [option.window for option in cut.spec.choice.options] == [2, 3]


def test_few_of_many_windows_are_tried():
    model = convert(shake(Causal()), torch.randn(16, 40), auto(1.0))
    windows = [option.window for option in model.spec.choice.options]
    assert len(windows) <= MAX_OPTIONS
    assert (windows[0], windows[-1]) == (1, 99)
    assert windows == sorted(set(windows))


def test_a_hand_written_form_takes_the_longest_window():
    model = convert(shake(TutorialTcn(8, 16)), torch.randn(8, 40), auto(0.035))
    assert model.window == 3
    assert {option.frame_us for option in model.spec.choice.options} == {None}


def test_the_choice_is_printed():
    text = str(convert(shake(Causal()), torch.randn(16, 40), auto(0.025)))
    assert "chosen for a latency of 25 ms by the costs of an esp32s3:\n" in text
    assert text.count("us a frame") == 2


def test_the_costs_are_those_of_the_chip():
    both = [
        convert(shake(Causal()), torch.randn(16, 40), auto(0.025), targets=[chip]) for chip in ("esp32s3", "esp32p4")
    ]
    choices = [model.spec.choice for model in both]
    assert [choice.chip for choice in choices] == ["esp32s3", "esp32p4"]
    assert choices[0].options[0].frame_us > choices[1].options[0].frame_us


def test_a_latency_that_no_window_keeps_is_refused():
    with pytest.raises(WindowError, match=r"latency=0.02\): the smallest window takes 40.* ms \(4 frame"):
        convert(shake(Causal(stride=4)), torch.randn(16, 40), auto(0.02))


def test_the_frame_period_must_be_known():
    with pytest.raises(ConfigurationError, match=r"needs to know how long a frame lasts"):
        convert(shake(Causal()), torch.randn(16, 40), Streaming(window="auto", latency=0.05))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": "auto"}, r"chooses by a latency"),
        ({"window": 3, "latency": 0.05}, r"window='auto' with it, or leave it out"),
        ({"latency": 0.05}, r"window='auto' with it, or leave it out"),
        ({"window": "auto", "latency": 0.0}, r"latency=0.0\) must be a positive number"),
        ({"window": "long"}, r"must be a whole number"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        Streaming(**options)


def test_the_period_of_a_front_end_is_that_of_a_frame():
    front_end = LogMel()
    told = tell_time(shake(Causal()), [torch.randn(16, 40)], Streaming(window="auto", latency=0.05), front_end)
    assert told.frame_period == front_end.config.frame_period
    assert (told.window, told.latency) == ("auto", 0.05)
