"""Norms that forward writes by hand become layer norms; what is none stays as it is written."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.quantization.rewrites.written import assert_same, types

Formula = Callable[["Written", Tensor], Tensor]


class Written(nn.Module):
    """A formula with constants along each axis of `[batch, 7, 20]`."""

    def __init__(self, formula: Formula) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.formula = formula
        self.row, self.column = torch.randn(20, generator=generator), torch.randn(1, 7, 1, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        return self.formula(self, x)


def centred(x: Tensor, *axes: int) -> Tensor:
    return x - x.mean(axes, keepdim=True)


def mean_square(x: Tensor, *axes: int) -> Tensor:
    return x.square().mean(axes, keepdim=True)


NORM = ["LayerNormalization"]
ROOT = ["Neg", "Concat", "LayerNormalization", "Slice"]
WRITTEN: dict[str, tuple[Formula, list[str]]] = {
    "DTLN": (lambda m, x: centred(x, -1) / torch.sqrt(mean_square(centred(x, -1), -1) + 1e-7) * m.row + m.row, NORM),
    "variance": (lambda m, x: centred(x, -1) / (x.var(-1, keepdim=True, unbiased=False) + 1e-5) ** 0.5, NORM),
    "of a sample": (lambda m, x: centred(x, -1) * torch.rsqrt(1e-5 + x.var(-1, keepdim=True)), NORM),
    "scale in front": (lambda m, x: 2 * (centred(x, -1) / torch.sqrt(mean_square(centred(x, -1), -1) + 1e-5)), NORM),
    "sum": (lambda m, x: centred(x, -1) / torch.sqrt((centred(x, -1) ** 2).sum(-1, keepdim=True) / 20 + 1e-5), NORM),
    "other axis": (
        lambda m, x: centred(x, 1) / torch.sqrt(mean_square(centred(x, 1), 1) + 1e-5) * m.column,
        ["Transpose", *NORM, "Transpose"],
    ),
    "two axes": (
        lambda m, x: centred(x, 1, 2) / torch.sqrt(x.var((1, 2), keepdim=True) + 1e-5),
        ["Reshape", *NORM, "Reshape"],
    ),
    "root of the mean square": (lambda m, x: x * torch.rsqrt(mean_square(x, -1) + 1e-6) * m.row, ROOT),
    "root of the mean square, divided": (lambda m, x: x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-6), ROOT),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_norm_by_hand_is_a_layer_norm(name: str) -> None:
    formula, expected = WRITTEN[name]
    quiet = torch.tensor([1.0, 1e-3]).reshape(2, 1, 1)
    x = torch.randn(2, 7, 20, generator=torch.Generator().manual_seed(1)) * quiet + 0.5 * quiet
    assert types(assert_same(Written(formula), x)) == expected


OTHERS: dict[str, Formula] = {
    "eps outside": lambda m, x: centred(x, -1) / (x.std(-1, keepdim=True) + 1e-5),
    "no eps": lambda m, x: centred(x, -1) / torch.sqrt(mean_square(centred(x, -1), -1)),
    "another numerator": lambda m, x: x / torch.sqrt(mean_square(centred(x, -1), -1) + 1e-5),
    "no square": lambda m, x: x / torch.sqrt((x * m.row).mean(-1, keepdim=True).square() + 1e-5),
    "over the batch": lambda m, x: x / torch.sqrt(mean_square(x, 0) + 1e-5),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_only_looks_like_one_stays(name: str) -> None:
    x = torch.randn(2, 7, 20, generator=torch.Generator().manual_seed(1))
    assert "LayerNormalization" not in types(assert_same(Written(OTHERS[name]), x))


def test_a_scale_of_another_axis_and_a_norm_that_is_read_twice_stay_apart() -> None:
    def both(m: Written, x: Tensor) -> Tensor:
        y = centred(x, -1) / torch.sqrt(mean_square(centred(x, -1), -1) + 1e-5)
        return y * m.row + y

    x = torch.randn(2, 7, 20, generator=torch.Generator().manual_seed(1))
    assert types(assert_same(Written(both), x)) == ["LayerNormalization", "Mul", "Add"]
    other = Written(lambda m, x: centred(x, -1) / torch.sqrt(mean_square(centred(x, -1), -1) + 1e-5) * m.column)
    assert types(assert_same(other, x)) == ["LayerNormalization", "Mul"]
