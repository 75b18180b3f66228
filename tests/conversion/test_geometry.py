"""What can be seen of a module from outside."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_esp.config import Streaming
from lightning_esp.conversion.axes import resolve_time
from lightning_esp.conversion.calling import argument_names
from lightning_esp.conversion.example import name_example
from lightning_esp.conversion.geometry import (
    Geometry,
    as_tuple,
    find_output_axis,
    probe,
)
from lightning_esp.errors import ConfigurationError, ConversionError
from tests.models.contracts import CASES, TwoInputs


class Strides(nn.Module):
    """Strided, trimming and upsampling, as asked."""

    def __init__(self, kernel: int, stride: int, padding: int, up: int = 1) -> None:
        super().__init__()
        self.padding, self.up = padding, up
        self.conv = nn.Conv1d(2, 3, kernel, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (self.padding, 0))).repeat_interleave(self.up, dim=2)


def geometry(module: nn.Module, shape: tuple[int, ...]) -> Geometry:
    inputs = name_example(module, torch.randn(shape))
    return probe(module, inputs, resolve_time(module, inputs, Streaming()))


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (Strides(3, 1, 2), Geometry(1, 1, 0, 2)),
        (Strides(3, 1, 0), Geometry(1, 1, 2, 2)),
        (Strides(2, 2, 1), Geometry(2, 1, 0, 2)),
        (Strides(4, 2, 2), Geometry(2, 1, 1, 2)),
        (Strides(3, 1, 2, up=2), Geometry(1, 2, 0, 2)),
        (Strides(4, 3, 3, up=2), Geometry(3, 2, 0, 2)),
    ],
)
def test_finds_stride_upsampling_and_trim(module: Strides, expected: Geometry) -> None:
    found = geometry(module, (2, 40))
    assert found == expected
    # The formula must hold at lengths that were not probed.
    for frames in (17, 18, 19, 63):
        strides = -(-(frames - found.trim) // found.stride)
        assert module(torch.randn(1, 2, frames)).shape[2] == strides * found.up


@pytest.mark.parametrize("name", CASES)
def test_finds_time_and_batch_of_each_model(name: str) -> None:
    case = CASES[name]
    module, (recording,) = case.module(), case.recordings(40)
    named = recording if isinstance(recording, dict) else {"x": recording}
    alone = name_example(module, recording)
    batched = name_example(module, {key: value.unsqueeze(0) for key, value in named.items()})
    assert {k: v.shape for k, v in alone.items()} == {k: v.shape for k, v in batched.items()}
    axis = resolve_time(module, alone, Streaming()).time_axis
    assert next(iter(alone.values())).shape[axis] == 40


def test_an_input_of_another_length_is_held() -> None:
    module, (recording,) = CASES["two_inputs"].module(), CASES["two_inputs"].recordings(40)
    streaming = resolve_time(module, name_example(module, recording), Streaming())
    assert streaming.inputs == {"microphone": "stream", "reference": "stream", "speaker": "held"}
    assert argument_names(TwoInputs()) == ("microphone", "reference", "speaker")


def test_what_the_user_says_is_kept() -> None:
    module, (recording,) = CASES["two_inputs"].module(), CASES["two_inputs"].recordings(40)
    said = Streaming(time_axis=2, inputs={"reference": "stream", "speaker": "held"}, frame_period=0.01)
    found = resolve_time(module, name_example(module, recording), said)
    assert (found.time_axis, found.frame_period) == (2, 0.01)


def test_an_unknown_input_is_refused() -> None:
    module, example = CASES["stateless"].module(), {"x": torch.randn(1, 8, 10)}
    with pytest.raises(ConfigurationError, match=r"names \['y'\], but forward takes \['x'\]"):
        resolve_time(module, example, Streaming(inputs={"y": "held"}))
    with pytest.raises(ConversionError, match=r"inputs \['y'\], but forward takes \['x'\]; rename"):
        name_example(module, {"y": torch.randn(8, 10)})


@pytest.mark.parametrize("axis", [0, 3, -1])
def test_a_time_axis_that_is_none_is_refused(axis: int) -> None:
    module, example = CASES["stateless"].module(), {"x": torch.randn(1, 8, 10)}
    with pytest.raises(ConfigurationError, match=rf"Streaming\(time_axis={axis}\) is not an axis .* use 1 to 2"):
        resolve_time(module, example, Streaming(time_axis=axis))


def test_a_module_of_one_length_asks_for_the_time_axis() -> None:
    class OneLength(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.reshape(-1, 8, 10)

    module, example = OneLength(), {"x": torch.randn(1, 8, 10)}
    with pytest.raises(ConfigurationError, match=r"time axis of the input \[1, 8, 10\] was not found"):
        resolve_time(module, example, Streaming())
    # The advice.
    assert resolve_time(module, example, Streaming(time_axis=2)).time_axis == 2


def test_an_example_on_which_forward_fails_is_refused() -> None:
    with pytest.raises(ConversionError, match=r"does not run on the example \{'x': \[5, 10\]\}"):
        name_example(CASES["stateless"].module(), torch.randn(5, 10))


def test_an_output_without_time_is_refused() -> None:
    with pytest.raises(ConversionError, match=r"one axis must follow time.*pool over time after it"):
        find_output_axis(torch.zeros(1, 4), torch.zeros(1, 4), "output")


@pytest.mark.parametrize("result", [{"words": torch.zeros(1, 2, 3)}, (torch.zeros(1, 2, 3), None)])
def test_an_output_that_is_no_tensor_is_refused(result: object) -> None:
    with pytest.raises(ConversionError, match=rf"forward returned a {type(result).__name__} (with|of)"):
        as_tuple(result)


def test_some_input_must_be_a_stream() -> None:
    module, example = CASES["stateless"].module(), {"x": torch.randn(1, 8, 10)}
    with pytest.raises(ConfigurationError, match="holds every input; at least one must be a 'stream'"):
        resolve_time(module, example, Streaming(inputs={"x": "held"}))


class ConvolvedBins(nn.Module):
    """Convolutions over bins with a stride, so that one bin less gives as many."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, (3, 3), padding=(0, 1), stride=(1, 2))
        self.head = nn.Linear(4 * 10, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(F.pad(x.unsqueeze(1), (0, 0, 2, 0)))
        return self.head(y.permute(0, 2, 1, 3).flatten(2))


def test_bins_that_may_shrink_by_one_are_not_taken_for_time() -> None:
    module, example = ConvolvedBins(), {"x": torch.randn(1, 40, 20)}
    assert module(example["x"][:, :, :-1]).shape == (1, 40, 3)
    assert resolve_time(module, example, Streaming()).time_axis == 1
