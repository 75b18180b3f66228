"""Conv, Gemm and MatMul: a product sum, a bias, one rounded shift, an optional ReLU, saturation.

Product sums are computed in float32 or float64, whichever holds every partial sum of this filter exactly, so that the
host's BLAS does the work and the result is still the integer that the C code computes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lightning_esp.espdl.arithmetic import saturate
from lightning_esp.espdl.espdl_model import Array
from lightning_esp.espdl.kernels.node import Kernel, KernelTable, Node, Values, attribute_ints, same_rank
from lightning_esp.espdl.weights import unpack_matrix

_FLOAT32_EXACT, _FLOAT64_EXACT = 1 << 24, 1 << 53
# OpenBLAS computes a product of m x k by k x n in one thread where m * k * n is at most this.
_ONE_THREAD, _LEAST_ROWS = 1 << 18, 8
ProductSum = Callable[[Array], Array]


@dataclass(frozen=True, eq=False)
class _Tail:
    """Steps after the product sum: bias, shift and the output type."""

    node: Node
    bias: Array
    shift: Array
    relu: bool
    dtype: np.dtype[Any]

    def __call__(self, sums: Array) -> Array:
        sums += self.bias
        scaled = self.node.rules.shift(sums, self.shift)
        return saturate(np.maximum(scaled, 0, out=scaled) if self.relu else scaled, self.dtype)


def _make_tail(node: Node, channels: int, magnitude: int) -> _Tail:
    """Read bias, shift and activation; `magnitude` bounds the product sum of any input."""
    shift = np.broadcast_to(
        node.exponent(node.output) - np.asarray(node.input(1).exponent) - node.exponent(node.input(0)), (channels,)
    )
    if shift.min() < 0:
        raise node.refuse(
            f"its output exponent {node.output.exponent} is finer than input plus weight exponent by "
            f"{-int(shift.min())} bits, a negative shift that ESP-DL's kernels don't support"
        )
    activation = node.attribute("activation", "Linear")
    if activation not in ("Linear", "Relu"):
        raise node.refuse(f"the fused activation {activation!r} is not one of ESP-DL's kernels")
    stored = node.optional_parameter(2)
    bias = np.zeros(channels, np.int64) if stored is None else stored.astype(np.int64).reshape(-1)
    bound = magnitude + int(np.abs(bias).max()) + (1 << int(shift.max()))
    if bound >= _FLOAT64_EXACT:
        raise node.refuse(f"its accumulator may reach {bound}, more than the host computes exactly")
    kind = np.float32 if bound < _FLOAT32_EXACT else np.float64
    return _Tail(node, bias.astype(kind), shift, activation == "Relu", node.output.dtype)


def _largest_input(node: Node) -> int:
    return -int(np.iinfo(node.input(0).dtype).min)


def _check_types(node: Node) -> None:
    kinds = {node.attribute("quant_type", ""), str(node.input(0).dtype), str(node.input(1).dtype)}
    if kinds not in ({"S8", "int8"}, {"S16", "int16"}):
        raise node.refuse(f"types {sorted(kinds)} are mixed; ESP-DL 3.3.9 computes int8 x int8 and int16 x int16 only")


def build_conv(node: Node) -> Kernel:
    """Build a 1-D or 2-D convolution; input (batch, 1, *space, in), filter (out, in / groups, *kernel)."""
    _check_types(node)
    weight = node.parameter(1)
    outputs, inputs = weight.shape[:2]
    depthwise = _is_depthwise(node, outputs, inputs)
    magnitude = int(np.abs(weight.astype(np.int64)).reshape(outputs, -1).sum(axis=1).max()) * _largest_input(node)
    tail = _make_tail(node, outputs, magnitude)
    taps = weight.reshape(outputs, inputs, -1).transpose(2, 1, 0).astype(tail.bias.dtype)
    geometry = _read_geometry(node, weight.shape[2:])

    def run(values: Values) -> tuple[Array, ...]:
        padded = geometry.pad(values[0])
        sums: Array | None = None
        for index, tap in enumerate(taps):
            window = geometry.window(padded, index).astype(tail.bias.dtype, order="C")
            product = window * tap[0] if depthwise else multiply(window, tap)
            sums = product if sums is None else np.add(sums, product, out=sums)
        assert sums is not None
        return (tail(sums),)

    return run


def multiply(values: Array, matrix: Array) -> Array:
    """Multiply the last axis by a matrix, in pieces of many rows each: one window at a time would be slow.

    A piece is small enough for OpenBLAS to stay in one thread. Its threads spin while they wait, which on a busy machine
    makes a product of this size up to thirty times slower; large matrices, where threads pay, are multiplied whole.
    """
    rows = values.reshape(-1, values.shape[-1])
    height = _ONE_THREAD // matrix.size
    whole = len(rows) // height * height if height >= _LEAST_ROWS else 0
    product = np.empty((len(rows), matrix.shape[-1]), matrix.dtype)
    if whole:
        pieces = rows[:whole].reshape(-1, height, rows.shape[-1])
        np.matmul(pieces, matrix, out=product[:whole].reshape(-1, height, product.shape[-1]))
    np.matmul(rows[whole:], matrix, out=product[whole:])
    return product.reshape(*values.shape[:-1], matrix.shape[-1])


def _is_depthwise(node: Node, outputs: int, inputs: int) -> bool:
    groups = int(node.attribute("group", 1))
    if groups == 1:
        return False
    if groups != outputs or inputs != 1 or node.input(0).shape[-1] != groups:
        raise node.refuse(
            f"{groups} groups on {node.input(0).shape[-1]} input and {outputs} output channels: ESP-DL 3.3.9 runs every "
            "grouped convolution as a depthwise one; use 1 group or one per channel"
        )
    return True


@dataclass(frozen=True)
class _Geometry:
    """Kernel, stride, dilation and padding per spatial axis; axes 2.. of the batched array are spatial."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]

    def pad(self, values: Array) -> Array:
        if not any(before or after for before, after in self.pads):
            return values
        return np.pad(values, ((0, 0), (0, 0), *self.pads, (0, 0)))

    def window(self, padded: Array, tap: int) -> Array:
        """Return the inputs that meet one tap of the kernel, one per output position."""
        offsets = np.unravel_index(tap, self.kernel)
        slices = [slice(None), slice(None)]
        for axis, offset in enumerate(offsets):
            size = padded.shape[2 + axis]
            count = (size - self.dilations[axis] * (self.kernel[axis] - 1) - 1) // self.strides[axis] + 1
            start = int(offset) * self.dilations[axis]
            slices.append(slice(start, start + (count - 1) * self.strides[axis] + 1, self.strides[axis]))
        return padded[tuple(slices)]


def _read_geometry(node: Node, kernel: tuple[int, ...]) -> _Geometry:
    rank = len(kernel)
    pads = attribute_ints(node.attribute("pads", (0,) * (2 * rank)))
    if node.attribute("auto_pad", "NOTSET") not in ("NOTSET", ""):
        raise node.refuse(f"auto_pad={node.attribute('auto_pad', '')!r} is ignored by ESP-DL; give explicit pads")
    return _Geometry(
        kernel,
        attribute_ints(node.attribute("strides", (1,) * rank)),
        attribute_ints(node.attribute("dilations", (1,) * rank)),
        tuple((pads[axis], pads[rank + axis]) for axis in range(rank)),
    )


def build_gemm(node: Node) -> Kernel:
    """Build a linear layer: input (batch, ..., in), weight (in, out)."""
    _check_types(node)
    if int(node.attribute("transA", 0)) or int(node.attribute("transB", 0)):
        raise node.refuse("transA and transB must be 0: ESP-DL asserts it at load")
    return _build_product(node, node.parameter(1))


def build_matmul(node: Node) -> Kernel:
    """Build a product with a matrix: input (batch, ..., in), weight (..., in, out), stored or computed."""
    _check_types(node)
    if node.input(1).data is None:
        return _build_computed_product(node)
    weight = node.parameter(1)
    if weight.ndim < 2 or node.input(0).shape[-1] != weight.shape[-2] or len(node.input(0).shape) < weight.ndim:
        raise node.refuse(f"shapes {node.input(0).shape} and {weight.shape} are not a product with a stored matrix")
    return _build_product(node, weight)


def _build_computed_product(node: Node) -> Kernel:
    """Build a product of two activations: ESP-DL reads the memory of the second in the order of packed weights."""
    inputs, outputs = node.input(1).shape[-2:]
    if node.input(0).shape[-1] != inputs:
        raise node.refuse(f"shapes {node.input(0).shape} and {node.input(1).shape} are not a product; ESP-DL asserts")
    tail = _make_tail(node, outputs, inputs * _largest_input(node) ** 2)
    order = _packed_order(node)
    plain = np.arange(order.size).reshape(order.shape)
    if node.attribute("input1_layout", "packed") != "packed" and (order != plain).any():
        raise node.refuse(
            "it multiplies two activations, the second in plain order, and ESP-DL 3.3.9 reads it in the order of packed "
            "weights; export the model with this package, which packs it"
        )

    def run(values: Values) -> tuple[Array, ...]:
        first, second = same_rank(values[0], values[1])
        matrix = second.reshape(*second.shape[:-2], -1)[..., order].astype(tail.bias.dtype)
        return (tail(first.astype(tail.bias.dtype) @ matrix),)

    return run


def unpack_second(node: Node, second: Array) -> Array:
    """Return the second of two computed operands of a MatMul, which lies in the order of packed weights, as a matrix."""
    return second.reshape(*second.shape[:-2], -1)[..., _packed_order(node)]


def _packed_order(node: Node) -> Array:
    """Return the position in memory at which ESP-DL looks for each element of the second operand, matrix by matrix."""
    inputs, outputs = node.input(1).shape[-2:]
    indices = np.arange(inputs * outputs).reshape(inputs, outputs)
    return unpack_matrix(indices, node.rules.packing(node.input(1).dtype))


def _build_product(node: Node, weight: Array) -> Kernel:
    magnitude = int(np.abs(weight.astype(np.int64)).sum(axis=-2).max()) * _largest_input(node)
    tail = _make_tail(node, weight.shape[-1], magnitude)
    matrix = weight.astype(tail.bias.dtype)

    def run(values: Values) -> tuple[Array, ...]:
        floats = values[0].astype(matrix.dtype)
        return (tail(multiply(floats, matrix) if matrix.ndim == 2 else floats @ matrix),)

    return run


def list_products(node: Node) -> tuple[Array, Array]:
    """Return the factors of the product sums of a Conv, Gemm or MatMul.

    Args:
        node: The operator.

    Returns:
        The weights, int64 of shape (taps, in, out), or (taps, 1, out) where every channel stands alone; the bias, int64.
    """
    weight = node.parameter(1).astype(np.int64)
    if node.operator.type == "Conv":
        _is_depthwise(node, *weight.shape[:2])
        taps = weight.reshape(*weight.shape[:2], -1).transpose(2, 1, 0)
    else:
        taps = weight[..., None, :, :]
    if taps.ndim > 3:
        raise node.refuse("the accumulator peak of a batched MatMul is not computed")
    stored = node.optional_parameter(2)
    return taps, np.zeros(taps.shape[-1], np.int64) if stored is None else stored.astype(np.int64).reshape(-1)


def list_columns(node: Node, values: Array) -> Array:
    """Return what meets these weights, (rows, taps, in) of the input's type, one row per output position.

    Args:
        node: The operator.
        values: Its first input, as for its kernel.
    """
    if node.operator.type != "Conv":
        return values.reshape(-1, 1, values.shape[-1])
    geometry = _read_geometry(node, node.parameter(1).shape[2:])
    padded, count = geometry.pad(values), int(np.prod(geometry.kernel))
    columns = np.stack([geometry.window(padded, index) for index in range(count)], axis=-2)
    return columns.reshape(-1, *columns.shape[-2:])


KERNELS: KernelTable = {"Conv": build_conv, "Gemm": build_gemm, "MatMul": build_matmul}
