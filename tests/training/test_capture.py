"""Inputs are captured by name, and cut to recordings without padding."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_esp.config import Streaming
from lightning_esp.errors import DataError
from lightning_esp.training.capture import InputRecorder, is_told, split_recordings, tell_time


class Conv(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 2, 3)

    def forward(self, x: Tensor, speaker: Tensor | None = None, scale: float = 1.0) -> Tensor:
        out: Tensor = self.conv(F.pad(x, (2, 0))) * scale
        return out if speaker is None else out + speaker[:, :2, None]


def record(calls: list[tuple[Any, dict[str, Any]]], batches: list[Any] | None = None) -> tuple[Conv, InputRecorder]:
    module = Conv()
    recorder = InputRecorder(module)
    for index, (args, kwargs) in enumerate(calls):
        recorder.start_batch(None if batches is None else batches[index])
        module(*args, **kwargs)
    recorder.remove()
    module(torch.zeros(1, 4, 5))
    return module, recorder


def test_one_input_gives_bare_tensors() -> None:
    x = torch.randn(3, 4, 10)
    module, recorder = record([((x,), {}), ((), {"x": x.double().float() + 1})])
    assert recorder.recordings == 6
    found = split_recordings(module, recorder.calls, Streaming(), 5)
    assert len(found) == 5
    assert torch.equal(torch.stack([f for f in found[:3] if isinstance(f, Tensor)]), x)


def test_several_inputs_are_named_whatever_way_they_are_given() -> None:
    x, speaker = torch.randn(2, 4, 10), torch.randn(2, 6)
    module, recorder = record([((x, speaker), {}), ((x,), {"speaker": speaker, "scale": 2.0})])
    for found in split_recordings(module, recorder.calls, Streaming(), 4):
        assert isinstance(found, dict)
        assert {name: list(value.shape) for name, value in found.items()} == {"x": [4, 10], "speaker": [6]}


def test_changing_a_tensor_later_changes_nothing() -> None:
    x = torch.ones(1, 4, 10)
    _, recorder = record([((x,), {})])
    x.zero_()
    assert bool((recorder.calls[0].inputs["x"] == 1).all())


def test_padding_is_cut_along_time_only_and_held_inputs_stay() -> None:
    x, speaker = torch.randn(2, 4, 10), torch.randn(2, 6)
    batch = {"waves": torch.zeros(2, 1600), "lengths": torch.tensor([1600, 700])}
    module, recorder = record([((x, speaker), {})], [batch])
    found = split_recordings(module, recorder.calls, Streaming(), 2)
    shapes = [{name: list(value.shape) for name, value in f.items()} for f in found if isinstance(f, dict)]
    assert shapes == [{"x": [4, 10], "speaker": [6]}, {"x": [4, 4], "speaker": [6]}]
    assert torch.equal(found[1]["x"], x[1, :, :4])  # type: ignore[index]


def test_labels_that_look_like_lengths_once_cut_nothing() -> None:
    x = torch.randn(3, 4, 10)
    batches = [(x, torch.tensor([1, 10, 4])), (x, torch.tensor([1, 5, 3]))]
    module, recorder = record([((x,), {}), ((x,), {})], batches)
    assert {f.shape for f in split_recordings(module, recorder.calls, Streaming(), 9) if isinstance(f, Tensor)} == {
        (4, 10)
    }


def test_lengths_of_other_recordings_are_refused() -> None:
    batch = {"x": torch.zeros(4, 10), "lengths": torch.tensor([10, 3, 2, 1])}
    module, recorder = record([((torch.zeros(2, 4, 10),), {})], [batch])
    with pytest.raises(DataError, match="4 lengths, but the step called Conv with 2"):
        split_recordings(module, recorder.calls, Streaming(), 4)


def planes(*batches: tuple[tuple[int, ...], list[int] | None]) -> tuple[nn.Module, InputRecorder]:
    """A module that takes any number of bins and of frames, and what it was called with."""
    module = nn.Conv2d(1, 2, 1)
    recorder = InputRecorder(module)
    for shape, lengths in batches:
        x = torch.randn(shape)
        recorder.start_batch(x if lengths is None else (x, torch.tensor(lengths)))
        module(x)
    recorder.remove()
    return module, recorder


@pytest.mark.parametrize(
    ("batches", "axis"),
    [
        ([((2, 1, 8, 12), [12, 7])], 3),
        ([((2, 1, 12, 8), [5, 12]), ((2, 1, 8, 8), [8, 4])], 2),
        ([((2, 1, 12, 8), None), ((2, 1, 9, 8), None)], 2),
        # Nothing tells: one length, no lengths, another unit, two axes as long as the padding.
        ([((2, 1, 12, 8), None), ((2, 1, 12, 8), None)], None),
        ([((2, 1, 12, 8), [1600, 900])], None),
        ([((2, 1, 8, 8), [8, 5])], None),
    ],
)
def test_padding_and_batches_of_other_lengths_tell_time(
    batches: list[tuple[tuple[int, ...], list[int] | None]], axis: int | None
) -> None:
    module, recorder = planes(*batches)
    assert tell_time(module, recorder.calls, Streaming()).time_axis == axis
    assert is_told(module, recorder.calls, Streaming()) == (axis is not None)
    assert tell_time(module, recorder.calls, Streaming(time_axis=1)).time_axis == 1


def test_padding_is_cut_along_the_axis_that_it_tells() -> None:
    module, recorder = planes(((2, 1, 8, 12), [12, 7]))
    found = split_recordings(module, recorder.calls, Streaming(), 2)
    assert [list(value.shape) for value in found if isinstance(value, Tensor)] == [[1, 8, 12], [1, 8, 7]]
