"""Functions of one value. int8 ones are look-up tables in the file; a few have a direct form for int16.

The direct forms follow the C code operation by operation in float32: where a table is absent, ESP-DL evaluates the
function on the chip, and the last bit of an intermediate value may decide a rounding.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lightning_esp.espdl.arithmetic import saturate
from lightning_esp.espdl.espdl_model import Array
from lightning_esp.espdl.kernels.node import (
    Kernel,
    KernelBuilder,
    KernelTable,
    Node,
    elementwise,
    look_up,
    require_same_exponent,
    tabulated,
)

_Function = Callable[[Array, Node], Array]


def exp(values: Array) -> Array:
    """`expf`: evaluated in double and rounded once, which is what a good libm returns."""
    return np.exp(values.astype(np.float64)).astype(np.float32)


def sigmoid(values: Array) -> Array:
    """ESP-DL's sigmoid of float32 values: float32 exponential, double quotient."""
    with np.errstate(over="ignore"):
        return (1.0 / (1.0 + exp(-values).astype(np.float64))).astype(np.float32)


def tanh(values: Array) -> Array:
    """ESP-DL's tanh of float32 values, made of its sigmoid."""
    return np.float32(2) * sigmoid(np.float32(2) * values) - np.float32(1)


def build_table(node: Node) -> Kernel:
    """Build a look-up: int8 entry by entry, int16 by the nearest entry of a coarser table."""
    assert node.table is not None
    table = node.table.data
    if table is None or node.table.exponent != node.output.exponent or node.table.dtype != node.output.dtype:
        raise node.refuse(
            f"its table {node.table.name} does not have the type and exponent of the output; ESP-DL asserts"
        )
    if node.input(0).dtype == np.int8:
        return look_up(table)
    shift = ((1 << 16) // (table.size - 1)).bit_length() - 1
    if table.size not in ((1 << (16 - shift)) + 1, 1 << 16):
        raise node.refuse(f"its table has {table.size} entries, not 2^n + 1")
    return elementwise(lambda values: table[_nearest_entry(values, shift, node.rules.half_even)])


def _nearest_entry(values: Array, shift: int, half_even: bool) -> Array:
    offset = values.astype(np.int32) + (1 << 15)
    if shift == 0:
        return offset
    index, remainder, half = offset >> shift, offset & ((1 << shift) - 1), 1 << (shift - 1)
    up = (remainder > half) | ((remainder == half) & (index & 1 == 1)) if half_even else remainder >= half
    return index + up


def _or_table(direct: _Function | None) -> KernelBuilder:
    """Make a builder: the table where ESP-DL uses one, else the direct form."""

    def build(node: Node) -> Kernel:
        byte = node.input(0).dtype == np.int8
        if node.table is not None and (byte or node.operator.type in ("LUT", "Gelu")):
            return build_table(node)
        if direct is None or node.input(0).dtype.kind != "i":
            raise node.refuse(f"it has no look-up table for {node.input(0).dtype}, and this package no direct form")
        return tabulated(node, lambda values: direct(values, node))

    return build


def _on_floats(function: Callable[[Array, Node], Array]) -> _Function:
    """Dequantize, apply, quantize."""

    def run(values: Array, node: Node) -> Array:
        floats = values.astype(np.float32) * node.scale(node.input(0))
        return node.rules.quantize(function(floats, node) * node.rescale(node.output), node.output.dtype)

    return run


def _relu(values: Array, node: Node) -> Array:
    if node.input(0).exponent == node.output.exponent:
        return np.maximum(values, 0)
    return _on_floats(lambda floats, _: np.maximum(floats, 0))(values, node)


def _leaky_relu(values: Array, node: Node) -> Array:
    alpha = np.float32(node.attribute("alpha", 0.01))
    floats = values.astype(np.float32) * node.scale(node.input(0)) * node.rescale(node.output)
    return node.rules.quantize(np.where(floats >= 0, floats, floats * alpha), node.output.dtype)


def _clip(values: Array, node: Node) -> Array:
    limits = np.iinfo(values.dtype)
    low, high = node.optional_parameter(1), node.optional_parameter(2)
    bounds = [limits.min if low is None else low.reshape(-1)[0], limits.max if high is None else high.reshape(-1)[0]]
    # Below the lower bound is asked first, which decides where the bounds are the wrong way round.
    clipped = np.where(values < bounds[0], bounds[0], np.minimum(values, bounds[1])).astype(np.float32)
    factor = node.scale(node.input(0)) * node.rescale(node.output)
    return node.rules.quantize(clipped * factor, node.output.dtype)


def _hard_swish(floats: Array, _: Node) -> Array:
    gate = np.clip(0.166667 * floats.astype(np.float64) + 0.5, 0, 1)
    return (gate * floats).astype(np.float32)


def _hard_sigmoid(floats: Array, node: Node) -> Array:
    alpha, beta = np.float32(node.attribute("alpha", 0.2)), np.float32(node.attribute("beta", 0.5))
    return np.asarray(np.clip(alpha * floats + beta, np.float32(0), np.float32(1)))


def _swish(floats: Array, _: Node) -> Array:
    return sigmoid(floats) * floats


def build_identity(node: Node) -> Kernel:
    """Build a copy of the raw integers."""
    return elementwise(lambda values: values)


def build_neg(node: Node) -> Kernel:
    """Build a negation of raw integers, saturated."""
    require_same_exponent(node, node.input(0), node.output, "ESP-DL negates the raw integers")
    return elementwise(lambda values: saturate(-values.astype(np.int32), values.dtype))


def build_prelu(node: Node) -> Kernel:
    """Build a PReLU of one slope, which is a table; ESP-DL 3.3.9 asserts on one slope per channel of a Conv1d."""
    if node.table is None or node.input(0).dtype != np.int8:
        raise node.refuse("ESP-DL 3.3.9 asserts on a PReLU with one slope per channel; use one slope or a LeakyReLU")
    return build_table(node)


KERNELS: KernelTable = {
    "Relu": _or_table(_relu),
    "LeakyRelu": _or_table(_leaky_relu),
    "Clip": _or_table(_clip),
    "Sigmoid": _or_table(_on_floats(lambda floats, _: sigmoid(floats))),
    "Tanh": _or_table(_on_floats(lambda floats, _: tanh(floats))),
    "Swish": _or_table(_on_floats(_swish)),
    "HardSwish": _or_table(_on_floats(_hard_swish)),
    "HardSigmoid": _or_table(_on_floats(_hard_sigmoid)),
    "Elu": _or_table(None),
    "Exp": _or_table(None),
    "Log": _or_table(None),
    "Sqrt": _or_table(None),
    "Gelu": _or_table(None),
    "LUT": _or_table(None),
    "Neg": build_neg,
    "PRelu": build_prelu,
    "Identity": build_identity,
}
