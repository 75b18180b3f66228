"""Recordings are checked before anything is computed from them."""

import pytest
import torch
from torch import Tensor

from lightning_esp.errors import DataError
from lightning_esp.streaming import convert
from lightning_esp.streaming.recordings import check_recordings, cut_recordings, pad_recordings
from tests.models.contracts import CASES

CASE = CASES["two_inputs"]
SPEC = convert(CASE.module(), CASE.recordings(20)[0], CASE.streaming).spec
PLAIN = convert(CASES["stateless"].module(), torch.randn(8, 20), CASES["stateless"].streaming).spec


def recording(**changes: Tensor) -> dict[str, Tensor]:
    (found,) = CASE.recordings(20)
    assert isinstance(found, dict)
    return found | changes


def test_gives_each_recording_by_name_with_a_batch_in_front() -> None:
    (values, frames), (_, short) = check_recordings(SPEC, [recording(), CASE.recordings(7)[0]])
    assert {name: list(value.shape) for name, value in values.items()} == {
        "microphone": [1, 8, 20],
        "reference": [1, 8, 20],
        "speaker": [1, 8, 1],
    }
    assert (frames, short) == (20, 7)


def test_pads_to_the_longest_and_cuts_back() -> None:
    first, second = torch.randn(8, 5), torch.randn(8, 9)
    batch, frames = pad_recordings(PLAIN, [first, second])
    assert batch["x"].shape == (2, 8, 9)
    assert frames == [5, 9]
    assert not batch["x"][0, :, 5:].any()
    assert torch.equal(cut_recordings(PLAIN, batch, [0], 5)["x"], first.unsqueeze(0))


def test_no_recordings_are_refused() -> None:
    with pytest.raises(DataError, match="there are no recordings; give at least one"):
        check_recordings(PLAIN, [])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    bad = torch.randn(8, 10)
    bad[2, 3:5] = value
    with pytest.raises(
        DataError, match=r"recording 1: input 'x' has 2 NaN or infinite value\(s\); remove the recording"
    ):
        check_recordings(PLAIN, [torch.randn(8, 10), bad])


@pytest.mark.parametrize("shape", [(7, 10), (1, 8, 10), (10,)])
def test_a_wrong_shape_is_refused(shape: tuple[int, ...]) -> None:
    message = rf"recording 0: input 'x' has shape \[{', '.join(map(str, shape))}\], but the model takes \[8, "
    with pytest.raises(DataError, match=message):
        check_recordings(PLAIN, [torch.randn(shape)])


def test_streams_of_different_lengths_are_refused() -> None:
    message = r"recording 0: input 'reference' has 19 frames, but 'microphone' has 20; cut them to one length, or hold"
    with pytest.raises(DataError, match=message):
        check_recordings(SPEC, [recording(reference=torch.randn(8, 19))])


def test_a_missing_input_is_refused() -> None:
    message = r"recording 0 has the inputs \['microphone'\], but not \['reference', 'speaker'\]; give a mapping"
    with pytest.raises(DataError, match=message):
        check_recordings(SPEC, [{"microphone": torch.randn(8, 20)}])
    with pytest.raises(DataError, match=message):
        check_recordings(SPEC, [torch.randn(8, 20)])
