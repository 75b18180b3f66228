"""Functions of one value that int8 models hold as look-up tables, in double precision, for esp-ppq's executor and files.

A function is an expression: `"x"`, a number, or `[operator, attributes, *arguments]` with operators of ONNX.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

Expression: TypeAlias = "str | list[Any]"

COMPARISONS = frozenset(
    ("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "And", "Or", "Xor", "Not", "IsNaN", "IsInf")
)
# These have an integer form of their own, and become part of a table only beside one that has none.
PROVED = frozenset(
    ("Relu", "Sigmoid", "Tanh", "Exp", "Elu", "LeakyRelu", "HardSigmoid", "HardSwish", "Clip", "Neg", "Add", "Sub", "Mul",
     "Div", "Identity")
)  # fmt: skip


def _selu(x: Tensor, alpha: float = 1.67326319217681884765625, gamma: float = 1.05070102214813232421875) -> Tensor:
    return gamma * F.elu(x, alpha)


def _celu(x: Tensor, alpha: float = 1.0) -> Tensor:
    return F.celu(x, alpha)


def _elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    return F.elu(x, alpha)


def _leaky_relu(x: Tensor, alpha: float = 0.01) -> Tensor:
    return F.leaky_relu(x, alpha)


def _hard_sigmoid(x: Tensor, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    return (alpha * x + beta).clamp(0, 1)


def _clip(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    return torch.clamp(x, low, high)


def _cast(x: Tensor, to: int = 1) -> Tensor:
    whole = to in (6, 7)
    return x != 0 if to == 9 else x.double().trunc() if whole else x.double()


FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "Erf": torch.erf, "Softplus": F.softplus, "Selu": _selu, "Celu": _celu, "Softsign": F.softsign, "Abs": torch.abs,
    "Sign": torch.sign, "Pow": torch.pow, "Log": torch.log, "Sqrt": torch.sqrt, "Reciprocal": torch.reciprocal,
    "Floor": torch.floor, "Ceil": torch.ceil, "Round": torch.round, "Sin": torch.sin, "Cos": torch.cos, "Tan": torch.tan,
    "Atan": torch.atan, "Max": torch.maximum, "Min": torch.minimum, "Where": torch.where, "Greater": torch.gt,
    "GreaterOrEqual": torch.ge, "Less": torch.lt, "LessOrEqual": torch.le, "Equal": torch.eq, "And": torch.logical_and,
    "Or": torch.logical_or, "Xor": torch.logical_xor, "Not": torch.logical_not, "IsNaN": torch.isnan, "Cast": _cast,
    "Relu": torch.relu, "Sigmoid": torch.sigmoid, "Tanh": torch.tanh, "Exp": torch.exp, "Elu": _elu,
    "LeakyRelu": _leaky_relu, "HardSigmoid": _hard_sigmoid, "HardSwish": F.hardswish, "Clip": _clip, "Neg": torch.neg,
    "Add": torch.add, "Sub": torch.sub, "Mul": torch.mul, "Div": torch.div, "Identity": torch.clone,
}  # fmt: skip


def evaluate(expression: Expression, values: Tensor) -> Tensor:
    """The function of each value, in float32; 0 where it is not defined, the largest number where it has no end.

    It is computed in double precision and rounded once, so that a value does not depend on those beside it.

    Args:
        expression: the function.
        values: any shape.
    """
    found = _evaluate(expression, values.double())
    limit = torch.finfo(torch.float32).max / 2
    return torch.nan_to_num(found, nan=0.0, posinf=limit, neginf=-limit).to(values.dtype)


def _evaluate(item: Any, x: Tensor) -> Any:
    if item == "x":
        return x
    if isinstance(item, list):
        name, options, *arguments = item
        return FUNCTIONS[name](*(_evaluate(argument, x) for argument in arguments), **options)
    return None if item is None else torch.tensor(item, dtype=torch.float64)
