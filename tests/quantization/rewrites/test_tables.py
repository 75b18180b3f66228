"""Functions of one value become one look-up each, of the right function."""

import json
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_esp.quantization.functions import evaluate
from lightning_esp.quantization.rewrites.tables import tabulate
from tests.models.pieces import Function
from tests.quantization.rewrites.written import rewritten, types

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu, "mish": F.mish, "softplus": F.softplus, "selu": F.selu, "celu": lambda x: F.celu(x, 0.7),
    "softsign": F.softsign, "abs": torch.abs, "sign": torch.sign, "cube": lambda x: x**3, "sine": torch.sin,
    "cosine": torch.cos, "root": lambda x: torch.sqrt(x.abs() + 0.1), "inverse": lambda x: 1 / (x.abs() + 0.5),
    "decibels": lambda x: 20 * torch.log10(torch.clamp(x, min=1e-3)), "hard": lambda x: F.hardshrink(x, 0.3),
    "soft": lambda x: F.softshrink(x, 0.3), "floor": lambda x: torch.floor(3 * x), "round": lambda x: torch.round(3 * x),
    "where": lambda x: torch.where(x > 0.2, x, -0.1 * x), "larger": lambda x: torch.maximum(x, torch.tensor(0.3)),
    "sigmoid of a logarithm": lambda x: torch.log(torch.sigmoid(x)), "erf": lambda x: torch.erf(F.leaky_relu(x, 0.2)),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_becomes_one_look_up(name: str) -> None:
    function = FUNCTIONS[name]
    x = torch.linspace(-3, 3, 84).reshape(1, 6, 14)
    model = tabulate(rewritten(Function(lambda m, x: function(x)), x), lambda _: False)
    assert types(model) == ["LUT"]
    found = evaluate(json.loads(model.graph.node[0].attribute[0].s.decode()), x)
    torch.testing.assert_close(found, function(x), rtol=1e-5, atol=1e-6)


def test_a_value_does_not_depend_on_those_beside_it() -> None:
    expression = ["Mul", {}, "x", ["Erf", {}, ["Exp", {}, "x"]]]
    values = torch.linspace(-3, 3, 97)
    assert torch.equal(evaluate(expression, values), torch.cat([evaluate(expression, v[None]) for v in values]))


def test_what_is_not_defined_is_zero_and_what_has_no_end_the_largest_number() -> None:
    found = evaluate(["Log", {}, "x"], torch.tensor([-1.0, 0.0, 1.0]))
    assert found.isfinite().all()
    assert found[0] == found[2] == 0
    assert found[1] < -1e38


def test_two_readers_of_a_part_get_a_table_each() -> None:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        y = torch.log(x.abs() + 1)
        return torch.cat([y, m.conv(torch.sin(y))], 1)

    model = tabulate(rewritten(Function(forward, conv=nn.Conv1d(6, 2, 1)), torch.zeros(1, 6, 4)), lambda _: False)
    assert sorted(types(model)) == ["Concat", "Conv", "LUT", "LUT"]


KEPT: dict[str, Callable[[Tensor], Tensor]] = {
    "two tensors": lambda x: torch.maximum(x[:, :3], x[:, 3:]),
    "a constant per channel": lambda x: x ** torch.arange(1.0, 7).reshape(6, 1),
    "a function with a form of its own": lambda x: torch.relu(x) * torch.sigmoid(x),
}


@pytest.mark.parametrize("name", KEPT)
def test_anything_else_stays(name: str) -> None:
    model = rewritten(Function(lambda m, x: KEPT[name](x)), torch.zeros(1, 6, 4))
    before = types(model)
    assert types(tabulate(model, lambda _: False)) == before


def test_a_module_in_int16_stays() -> None:
    model = rewritten(Function(lambda m, x: F.gelu(x)), torch.zeros(1, 6, 4))
    assert "Erf" in types(tabulate(model, lambda name: "block" in name))
