"""Readings by mean and scale: the order of operations, what is fitted, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_esp.errors import ConfigurationError, DataError
from lightning_esp.frontend import Normalize, as_on_chip, compute_stream_features, restore_front_end


def batches(seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scale, mean = torch.tensor([[10.0], [0.003], [4e5]]), torch.tensor([[1013.0], [-0.1], [0.0]])
    return [torch.randn(4, 3, 50 + i, generator=generator) * scale + mean for i in range(3)]


def test_the_numbers_are_those_of_float32_in_this_order() -> None:
    front_end = Normalize.fit(batches())
    (readings, *_), mean, scale = batches(1), front_end.mean.numpy(), front_end.scale.numpy()
    factor = np.float32(1) / scale
    expected = (readings.numpy() - mean[:, None]) * factor[:, None]
    assert expected.dtype == np.float32
    assert np.array_equal(front_end(readings).numpy(), expected)
    # Of any type: what float32 makes of it first.
    whole = (readings * 10).round().to(torch.int32)
    assert torch.equal(front_end(whole), front_end(whole.float()))
    assert torch.equal(front_end(readings.double()), front_end(readings))


@pytest.mark.parametrize("form", ["batches", "recordings", "tuples", "lists", "channels last"])
def test_fit_gives_mean_0_and_deviation_1(form: str) -> None:
    given: dict[str, list[object]] = {
        "batches": [*batches()],
        "recordings": [each for batch in batches() for each in batch],
        "tuples": [(batch, torch.zeros(4)) for batch in batches()],
        "lists": [[batch, torch.zeros(4)] for batch in batches()],
        "channels last": [batch.transpose(1, 2) for batch in batches()],
    }
    axis = 2 if form == "channels last" else 1
    front_end = Normalize.fit(iter(given[form]), axis)
    rows = torch.cat([batch.movedim(1, 0).flatten(1) for batch in batches()], 1).double()
    assert torch.allclose(front_end.mean.double(), rows.mean(1), rtol=1e-6)
    assert torch.allclose(front_end.scale.double(), rows.std(1, unbiased=False), rtol=1e-6)
    assert front_end.channel_axis == axis


@pytest.mark.parametrize(
    ("recordings", "message"),
    [
        ([], "got no readings"),
        ([torch.zeros(2, 0)], "got no readings"),
        ([torch.tensor([[1.0, 2.0], [5.0, 5.0]])], r"channel 1 is 5 in all 2 frames"),
        (
            [torch.tensor([[1.0, float("nan")], [5.0, 6.0]])],
            "recording 0 holds 1 NaN .* in channel 0",
        ),
        ([torch.rand(3, 9), torch.rand(2, 9)], "recording 1 has 2 channels, the ones before have 3"),
        ([torch.rand(9)], r"recording 0 is shape \[9\]"),
        ([{"x": torch.rand(3, 9)}], "recording 0 is a dict"),
    ],
    ids=["none", "no frames", "constant", "nan", "channels", "axes", "dict"],
)
def test_fit_refuses_what_gives_no_scale(recordings: list[Tensor], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Normalize.fit(recordings)


def test_a_constant_far_from_zero_is_constant() -> None:
    recordings = [torch.stack([torch.full((1000,), 101325.123), torch.rand(1000)]) for _ in range(5)]
    with pytest.raises(DataError, match="channel 0 is 101325 in all 5000 frames"):
        Normalize.fit(recordings)


@pytest.mark.parametrize(
    ("mean", "scale", "message"),
    [
        ([0.0], [0.0], "is 0 for channel 0"),
        ([0.0, 1.0], [1.0, -2.0], "is -2 for channel 1"),
        ([0.0], [1e-45], "1 / scale a number in float32"),
        ([0.0], [1.0, 1.0], "1 means and 2 scales"),
        ([float("inf")], [1.0], "mean=...\\) is inf for channel 0"),
        ([1e39], [1.0], "mean=...\\) is inf for channel 0"),
        ([0.0], [float("nan")], "scale=...\\) is nan for channel 0"),
        ([[0.0]], [1.0], r"has shape \[1, 1\]"),
        ([], [], r"has shape \[0\]"),
        ("abc", [1.0], "must be numbers"),
    ],
)
def test_figures_that_cannot_be_are_refused(mean: list[float], scale: list[float], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Normalize(mean, scale)


@pytest.mark.parametrize("axis", [0, True, 1.0, None])
def test_an_axis_that_cannot_be_is_refused(axis: int) -> None:
    with pytest.raises(ConfigurationError, match="channel_axis"):
        Normalize([0.0], [1.0], axis)


def test_wrong_inputs_are_refused() -> None:
    front_end = Normalize([0.0, 1.0], [1.0, 2.0])
    with pytest.raises(DataError, match=r"2 channels on axis 1, and got shape \[1, 3, 9\]"):
        front_end(torch.zeros(1, 3, 9))
    with pytest.raises(DataError, match="give it channel_axis=2"):
        front_end(torch.zeros(1, 9, 2))
    with pytest.raises(DataError, match="not a list"):
        front_end([1.0, 2.0])
    with pytest.raises(DataError, match=r"recording 1 holds 2 NaN .* in channel 1"):
        compute_stream_features(
            front_end, [torch.zeros(2, 3), torch.tensor([[0.0, 0.0], [float("inf"), float("nan")]])]
        )
    with pytest.raises(DataError, match="recording 0: Normalize has 2 channels"):
        compute_stream_features(front_end, [torch.zeros(3, 9)])
    with pytest.raises(DataError, match="recording 0 is a list"):
        compute_stream_features(front_end, [[1.0]])  # type: ignore[list-item]


def test_what_was_written_down_computes_the_same() -> None:
    front_end = Normalize.fit(batches())
    again = restore_front_end(json.loads(json.dumps(front_end.describe())))
    assert isinstance(again, Normalize)
    assert torch.equal(again(batches()[0]), front_end(batches()[0]))
    assert as_on_chip(again, "esp32c3") is again


@pytest.mark.parametrize("change", [{"mean": [1.0]}, {"channels": 2}, {"scale": [0.0] * 3}, {"channel_axis": "1"}])
def test_what_describes_no_normalisation_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match=r"pass what Normalize\.describe\(\) returns"):
        restore_front_end({**Normalize.fit(batches()).describe(), **change})


def test_figures_travel_in_the_state_dict() -> None:
    front_end, other = Normalize.fit(batches()), Normalize([0.0] * 3, [1.0] * 3)
    other.load_state_dict(front_end.state_dict())
    assert torch.equal(other(batches()[0]), front_end(batches()[0]))
