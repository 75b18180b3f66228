"""Indexing by stored numbers is slicing."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.quantization.rewrites.written import assert_same, types


class _Of(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.function(torch.tanh(x)))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x[:, :, 2], ["Slice", "Reshape"]),
        (lambda x: x[:, -1], ["Slice", "Reshape"]),
        (lambda x: x[:, :, [1, 3, 5]], ["Slice"]),
        (lambda x: x[:, [0, 2, 1, 3]], ["Slice", "Slice", "Concat"]),
        (lambda x: x[:, :, [5, 4]], ["Slice", "Slice", "Concat"]),
        (lambda x: x[:, :, [0, 0, 1]], ["Slice", "Slice", "Concat"]),
        (lambda x: x[:, :, torch.tensor([[0, 1], [2, 3]])], ["Slice", "Reshape"]),
    ],
)
def test_indexing_is_slicing(function: Callable[[Tensor], Tensor], expected: list[str]) -> None:
    x = torch.randn(1, 4, 6, generator=torch.Generator().manual_seed(0))
    assert types(assert_same(_Of(function), x)) == ["Tanh", *expected, "Relu"]
