"""Add, Sub, Mul and Div on two tensors that broadcast against each other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lightning_esp.espdl.arithmetic import saturate
from lightning_esp.espdl.espdl_model import Array
from lightning_esp.espdl.kernels.node import Kernel, KernelTable, Node, Values, same_rank


def _require_integers(node: Node) -> None:
    kinds = {str(node.input(0).dtype), str(node.input(1).dtype), str(node.output.dtype)}
    if kinds not in ({"int8"}, {"int16"}):
        raise node.refuse(f"its tensors have types {sorted(kinds)}; ESP-DL reads one integer type for all three")


def _build_sum(node: Node, function: Callable[[Array, Array], Array]) -> Kernel:
    """ESP-DL adds the raw integers and saturates; it does not look at exponents."""
    _require_integers(node)
    dtype, wide = node.output.dtype, np.int16 if node.output.dtype.itemsize == 1 else np.int32

    def run(values: Values) -> tuple[Array, ...]:
        first, second = same_rank(values[0], values[1])
        return (saturate(function(first.astype(wide), second.astype(wide)), dtype),)

    return run


def build_add(node: Node) -> Kernel:
    """Build a sum."""
    return _build_sum(node, lambda first, second: np.add(first, second))


def build_sub(node: Node) -> Kernel:
    """Build a difference."""
    return _build_sum(node, lambda first, second: np.subtract(first, second))


def build_mul(node: Node) -> Kernel:
    """Build a product: an int32 product, made float32, scaled and rounded."""
    _require_integers(node)
    factor = node.scale(node.input(0)) * node.scale(node.input(1)) * node.rescale(node.output)
    dtype, wide = node.output.dtype, np.int16 if node.output.dtype.itemsize == 1 else np.int32

    def run(values: Values) -> tuple[Array, ...]:
        first, second = same_rank(values[0], values[1])
        product = first.astype(wide) * second.astype(wide)
        return (node.rules.quantize(product.astype(np.float32) * factor, dtype),)

    return run


def build_div(node: Node) -> Kernel:
    """Build a quotient; 0 / x is 0, x / 0 is the largest value of x's sign."""
    _require_integers(node)
    _refuse_frozen_table(node)
    factor = np.float32(node.rescale(node.output) * node.scale(node.input(0))) / node.scale(node.input(1))
    dtype = node.output.dtype
    lengths = _innermost_lengths(node.input(0).shape, node.input(1).shape)
    # The order of operations decides the last bit of the float32 quotient, and int16 asks for the divisor first.
    reciprocal = lengths[1] == 1 and (lengths[0] != 1 or dtype.itemsize == 2)
    limits = np.iinfo(dtype)

    def run(values: Values) -> tuple[Array, ...]:
        above, below = same_rank(values[0], values[1])
        first, second = above.astype(np.float32), np.where(below == 0, np.float32(1), below.astype(np.float32))
        quotient = first * (factor / second) if reciprocal else first * factor / second
        overflow = np.where(above > 0, limits.max, limits.min).astype(dtype)
        return (np.where((below == 0) & (above != 0), overflow, node.rules.quantize(quotient, dtype)),)

    return run


def _refuse_frozen_table(node: Node) -> None:
    """In int8 a scalar operand makes ESP-DL build a table at the first run, which it then keeps."""
    for index, tensor in enumerate((node.input(0), node.input(1))):
        if node.output.dtype.itemsize != 1 or int(np.prod(tensor.shape)) != 1:
            continue
        if tensor.data is None:
            raise node.refuse(f"{tensor.name} is an activation of one element, and ESP-DL keeps the first one it meets")
        if not tensor.data.any():
            raise node.refuse(f"its {('dividend', 'divisor')[index]} {tensor.name} is a stored zero")


def _innermost_lengths(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, int]:
    """Return both operands' lengths in ESP-DL's innermost loop, after it has merged axes that broadcast alike."""
    rank = max(len(first), len(second))
    above = [1] * (rank - len(first)) + list(first)
    below = [1] * (rank - len(second)) + list(second)
    for axis in range(rank):
        for other in range(axis + 1, rank):
            alike = above[axis] == below[axis] and above[other] == below[other]
            if not (alike or above[axis] == above[other] == 1 or below[axis] == below[other] == 1):
                break
            above[axis], above[other] = above[axis] * above[other], 1
            below[axis], below[other] = below[axis] * below[other], 1
        else:
            return above[axis], below[axis]
    return 1, 1


KERNELS: KernelTable = {"Add": build_add, "Sub": build_sub, "Mul": build_mul, "Div": build_div}
