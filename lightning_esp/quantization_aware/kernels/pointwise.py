"""Functions of one value, sums and products of two, and changes of exponent."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_esp.espdl import Node, build_kernel
from lightning_esp.quantization_aware.kernels.common import (
    Builder,
    Builders,
    Kernel,
    factor,
    limits,
    power,
    rounding,
    same_rank,
    single,
)
from lightning_esp.quantization_aware.rounding import substitute

# Of 256 entries of a table, those to either side of a value between which its slope is taken.
_REACH = 3
_Function = Callable[[Tensor], Tensor]


def _of_node(node: Node, name: str, default: float) -> float:
    return float(node.attribute(name, default))


def _smooth(node: Node) -> _Function | None:
    """Return the function that a table holds, where the type of the operator tells it."""
    slope, alpha, beta = (_of_node(node, *pair) for pair in (("alpha", 0.01), ("alpha", 0.2), ("beta", 0.5)))
    known: dict[str, _Function] = {
        "Relu": torch.relu,
        "Sigmoid": torch.sigmoid,
        "Tanh": torch.tanh,
        "Swish": F.silu,
        "HardSwish": F.hardswish,
        "HardSigmoid": lambda x: (alpha * x + beta).clamp(0, 1),
        "LeakyRelu": lambda x: F.leaky_relu(x, slope),
        "Elu": lambda x: F.elu(x, _of_node(node, "alpha", 1.0)),
        "Exp": torch.exp,
    }
    return known.get(node.operator.type)


def build_table(node: Node) -> Kernel:
    """Build a function of one value: its integers are those of the file's kernel, its slope that of the function."""
    if node.operator.type == "Relu" and node.input(0).exponent == node.output.exponent:
        return single(torch.relu)
    first = int(np.iinfo(node.input(0).dtype).min)
    table = _entries(node)
    function = _smooth(node)
    scale, rescale = power(node.exponent(node.input(0))), power(-node.exponent(node.output))
    low, high = limits(node)
    slopes = _slopes(table)

    def run(values: Tensor) -> Tensor:
        places = values.detach().long() - first
        exact = torch.from_numpy(table).to(values)[places]
        if function is None:
            return substitute(values * torch.from_numpy(slopes).to(values)[places], exact)
        return substitute((function(values * scale) * rescale).clamp(low - 0.5, high + 0.5), exact)

    return single(run)


def _entries(node: Node) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    """Return what the operator makes of each integer, from the smallest on."""
    limits = np.iinfo(node.input(0).dtype)
    whole = np.arange(limits.min, limits.max + 1).astype(node.input(0).dtype)
    stored = [np.zeros((1, 0), np.int8) if t is None or t.data is None else t.data[None] for t in node.inputs[1:]]
    return build_kernel(node)([whole.reshape(len(whole), 1), *stored])[0].reshape(len(whole)).astype(np.int16)


def _slopes(table: np.ndarray[tuple[int], np.dtype[np.int16]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the slope at each entry of a table, over some entries to either side: a step alone is 0 or 1."""
    reach = len(table) // 256 * _REACH
    places = np.arange(len(table))
    after, before = (places + reach).clip(max=len(table) - 1), (places - reach).clip(min=0)
    return np.asarray((table[after].astype(np.float64) - table[before]) / (after - before))


def build_add(node: Node) -> Kernel:
    """Build a sum of integers, saturated."""
    return _build_sum(node, torch.add)


def build_sub(node: Node) -> Kernel:
    """Build a difference of integers, saturated."""
    return _build_sum(node, torch.sub)


def _build_sum(node: Node, function: Callable[[Tensor, Tensor], Tensor]) -> Kernel:
    low, high = limits(node)

    def run(values: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return (function(*same_rank(values[0], values[1])).clamp(low, high),)

    return run


def build_mul(node: Node) -> Kernel:
    """Build a product: made float32, scaled and rounded."""
    scale = factor(node) * power(node.exponent(node.input(1)))
    low, high = limits(node)
    chip = rounding(node)

    def run(values: Sequence[Tensor]) -> tuple[Tensor, ...]:
        first, second = same_rank(values[0], values[1])
        return (chip.quantize(first * second * scale, low, high),)

    return run


def build_assign(node: Node) -> Kernel:
    """Build a change of exponent or type."""
    source, target = node.input(0), node.output
    if source.dtype.kind == "f" or target.dtype.kind == "f":
        scale = power(
            (0 if source.dtype.kind == "f" else node.exponent(source))
            - (0 if target.dtype.kind == "f" else node.exponent(target))
        )
        if target.dtype.kind == "f":
            return single(lambda values: values * scale)
    else:
        scale = factor(node)
    low, high = limits(node)
    chip = rounding(node)
    if scale == 1.0 and source.dtype.kind == "i":
        return single(lambda values: values.clamp(low, high))
    return single(lambda values: chip.quantize(values * scale, low, high))


def build_neg(node: Node) -> Kernel:
    """Build a negation, saturated."""
    low, high = limits(node)
    return single(lambda values: (-values).clamp(low, high))


def build_identity(node: Node) -> Kernel:
    """Build a copy."""
    return single(lambda values: values)


_TABLES: tuple[str, ...] = (
    "Relu", "LeakyRelu", "Clip", "Sigmoid", "Tanh", "Swish", "HardSwish", "HardSigmoid", "Elu", "Exp", "Log", "Sqrt", "Gelu", "LUT", "PRelu",
)  # fmt: skip

BUILDERS: Builders = {
    **dict[str, Builder].fromkeys(_TABLES, build_table),
    "Add": build_add,
    "Sub": build_sub,
    "Mul": build_mul,
    "QuantizeLinear": build_assign,
    "DequantizeLinear": build_assign,
    "RequantizeLinear": build_assign,
    "Neg": build_neg,
    "Identity": build_identity,
}
