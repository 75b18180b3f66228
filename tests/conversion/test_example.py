"""What a conversion starts from: a recording, and the batch dimension that it lacks."""

import pytest
import torch
from torch import nn

from lightning_esp.conversion.example import as_example, name_example
from tests.models.pieces import Function


def test_a_recording_whose_first_axis_is_one_gets_a_batch_of_its_own() -> None:
    # The module runs on `[1, time, bins]` too, for which the first axis is the batch.
    module = Function(lambda m, x: m.layer(x.squeeze(1)), layer=nn.Linear(4, 2))
    recording = torch.randn(1, 20, 4)
    assert name_example(module, recording)["x"].shape == (1, 20, 4)
    assert name_example(module, as_example(module, recording))["x"].shape == (1, 1, 20, 4)


@pytest.mark.parametrize("shape", [(1, 3, 20), (3, 5, 20)])
def test_what_forward_does_not_take_stays_as_it_is(shape: tuple[int, ...]) -> None:
    recording = torch.randn(shape)
    assert as_example(nn.Conv1d(3, 2, 1), recording) is recording


def test_outputs_without_the_batch_in_front_do_not_hide_it() -> None:
    gru, conv = nn.GRU(3, 2, batch_first=True), nn.Conv1d(3, 2, 1)
    for module, recording in (
        (Function(lambda m, x: m.gru(x), gru=gru), torch.randn(20, 3)),
        (Function(lambda m, x: m.conv(x).mean(2).squeeze(), conv=conv), torch.randn(3, 20)),
    ):
        assert name_example(module, as_example(module, recording))["x"].shape == (1, *recording.shape)
