"""What is stored stands second in a product."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.quantization.rewrites.written import assert_same, rewritten, types


class Product(nn.Module):
    """A function of the input and a stored tensor."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], *shape: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(1)))
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.weight)


def einsum(equation: str) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda x, w: torch.einsum(equation, w, x)


CASES = {
    "W @ x": (lambda x, w: w @ x, (4, 5), (5, 7), ["Conv"]),
    "one W for all": (lambda x, w: w @ x, (1, 4, 5), (5, 7), ["Conv"]),
    "W @ image": (lambda x, w: w @ x, (4, 6), (3, 6, 7), ["Transpose", "MatMul", "Transpose"]),
    "channels": (einsum("oc,bct->bot"), (4, 5), (5, 7), ["Conv"]),
    "turned weight": (einsum("co,bct->bot"), (5, 4), (5, 7), ["Conv"]),
    "channels of an image": (einsum("oc,bcft->boft"), (4, 3), (3, 6, 7), ["Conv"]),
    "channels last": (einsum("oc,btc->bto"), (4, 5), (7, 5), ["MatMul"]),
    "to channels last": (einsum("oc,bct->bto"), (4, 5), (5, 7), ["Transpose", "MatMul"]),
    "bins": (einsum("fg,bctf->bctg"), (6, 4), (3, 7, 6), ["MatMul"]),
    "channels and bins": (einsum("cfg,bctf->btg"), (3, 6, 4), (3, 7, 6), ["Transpose", "Reshape", "MatMul"]),
    "scale": (einsum("c,bct->bct"), (5,), (5, 7), ["Mul"]),
    "scale of two axes": (einsum("fc,bctf->bctf"), (6, 3), (3, 7, 6), ["Mul"]),
    "to one number": (einsum("c,bct->bt"), (5,), (5, 7), ["Transpose", "MatMul", "Reshape"]),
    "two new axes": (einsum("fgh,btf->btgh"), (6, 4, 2), (7, 6), ["MatMul", "Reshape"]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_stored_factor_stands_second(name: str) -> None:
    function, weight, shape, expected = CASES[name]
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    assert types(assert_same(Product(function, *weight), x)) == expected


def test_what_no_matrix_does_stays() -> None:
    x = torch.randn(2, 5, 7)
    for equation, shape in (("bct,co->boct", (5, 4)), ("bct,co->bo", (5, 4))):
        product = Product(lambda x, w, e=equation: torch.einsum(e, x, w), *shape)
        assert "Einsum" in types(rewritten(product, x))


def test_two_tensors_of_the_input_stay() -> None:
    assert types(rewritten(Product(lambda x, _: x @ x.transpose(1, 2), 1), torch.randn(2, 5, 7))).count("MatMul") == 1
