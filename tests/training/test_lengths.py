"""Lengths are found where a batch has them, and nowhere else."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from lightning_esp.errors import DataError
from lightning_esp.training.lengths import count_frames, find_lengths, iterate_tensors

WAVES, LENGTHS, LABELS = torch.zeros(3, 1, 800), torch.tensor([800, 160, 401]), torch.tensor([2, 0, 1])


class Named(NamedTuple):
    x: Tensor
    lengths: Tensor


@dataclass
class Fields:
    x: Tensor
    lengths: list[int]


@pytest.mark.parametrize(
    "batch",
    [
        {"x": WAVES, "y": LABELS, "lengths": LENGTHS},
        {"x": WAVES, "length": LENGTHS.tolist()},
        Named(WAVES, LENGTHS),
        Fields(WAVES, LENGTHS.tolist()),
        (WAVES, LABELS, LENGTHS),
        (WAVES, LENGTHS, LABELS),
        [WAVES.squeeze(1), LENGTHS.int(), LABELS],
    ],
    ids=["key", "short key", "named tuple", "dataclass", "last element", "middle element", "list"],
)
def test_lengths_are_found(batch: Any) -> None:
    found = find_lengths(batch)
    assert found is not None
    lengths, padded = found
    assert lengths.tolist() == LENGTHS.tolist()
    assert padded == 800


@pytest.mark.parametrize(
    "batch",
    [
        WAVES,
        (WAVES, LABELS),
        (WAVES, torch.tensor([1, 2, 3])),
        (WAVES, torch.tensor([0, 800, 3])),
        (WAVES, torch.tensor([800.0, 1.0, 3.0])),
        {"x": WAVES, "y": LENGTHS},
        (WAVES, "three names"),
    ],
    ids=["tensor", "labels", "labels from one", "labels from zero", "floats", "other key", "text"],
)
def test_what_is_not_lengths(batch: Any) -> None:
    assert find_lengths(batch) is None


def test_padding_may_be_longer_than_the_longest() -> None:
    assert find_lengths({"x": WAVES, "lengths": [700, 100, 5]}) is not None
    lengths, padded = find_lengths({"x": WAVES, "lengths": [700, 100, 5]}) or (LENGTHS, 0)
    assert padded == 800
    assert count_frames(lengths, padded, 80) == [70, 10, 1]


def test_fractions_are_lengths_too() -> None:
    lengths, padded = find_lengths({"x": WAVES, "lengths": torch.tensor([1.0, 0.25, 0.5])}) or (LENGTHS, 0)
    assert count_frames(lengths, padded, 80) == [80, 20, 40]


@pytest.mark.parametrize("lengths", [[801, 1, 2], [0, 800, 2]])
def test_lengths_that_fit_nothing(lengths: list[int]) -> None:
    with pytest.raises(DataError, match=r"lengths=\[\d+, \d+, 2\].*axes of \[1, 800\]"):
        find_lengths({"x": WAVES, "lengths": lengths})


def test_tensors_are_found_in_nested_batches() -> None:
    batch = {"a": [WAVES, (LABELS,)], "b": Fields(LENGTHS, [1])}
    assert [id(t) for t in iterate_tensors(batch)] == [id(WAVES), id(LABELS), id(LENGTHS)]
