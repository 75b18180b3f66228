"""Reductions over axes, and the normalizations that reduce over trailing axes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lightning_esp.espdl.arithmetic import saturate
from lightning_esp.espdl.espdl_model import Array
from lightning_esp.espdl.kernels.activation import exp
from lightning_esp.espdl.kernels.limits import reduced_axes
from lightning_esp.espdl.kernels.node import Kernel, KernelTable, Node, Values, positive_axis

_NEWTON_TOLERANCE = np.float32(0.00001)


def _build_reduction(node: Node, function: Callable[[Array, tuple[int, ...]], Array]) -> Kernel:
    axes = tuple(axis + 1 for axis in reduced_axes(node))
    keep = bool(node.attribute("keepdims", 1))
    everything = len(axes) == len(node.input(0).shape)

    def run(values: Values) -> tuple[Array, ...]:
        reduced = function(values[0], axes)
        if keep:
            return (reduced,)
        return (reduced.reshape(-1, 1) if everything else np.squeeze(reduced, axis=axes),)

    return run


def build_mean(node: Node) -> Kernel:
    """Build a mean: the integer sum in float32, scaled, divided, scaled again, in this order."""
    scale, rescale, dtype = node.scale(node.input(0)), node.rescale(node.output), node.output.dtype

    def mean(values: Array, axes: tuple[int, ...]) -> Array:
        count = np.float32(np.prod([values.shape[axis] for axis in axes]))
        sums = values.sum(axis=axes, keepdims=True, dtype=np.int64).astype(np.float32)
        return node.rules.quantize(sums * scale / count * rescale, dtype)

    return _build_reduction(node, mean)


def build_sum(node: Node) -> Kernel:
    """Build a sum: integers, shifted to the output's exponent and rounded."""
    shift, dtype = node.exponent(node.output) - node.exponent(node.input(0)), node.output.dtype

    def add(values: Array, axes: tuple[int, ...]) -> Array:
        sums = values.sum(axis=axes, keepdims=True, dtype=np.float64)
        return saturate(node.rules.shift(sums, shift) if shift > 0 else np.ldexp(sums, -shift), dtype)

    return _build_reduction(node, add)


def build_max(node: Node) -> Kernel:
    """Build a maximum of raw integers over axes."""
    return _build_reduction(node, lambda values, axes: np.asarray(values.max(axis=axes, keepdims=True)))


def build_min(node: Node) -> Kernel:
    """Build a minimum of raw integers over axes."""
    return _build_reduction(node, lambda values, axes: np.asarray(values.min(axis=axes, keepdims=True)))


def sum_in_order(values: Array) -> Array:
    """Sum the last axis in float32 from left to right, as a C loop does; numpy's own sum adds in pairs."""
    total: Array = np.add.accumulate(values, axis=-1, dtype=np.float32)[..., -1:]
    return total


def newton_root(values: Array) -> Array:
    """ESP-DL's square root: Newton's iteration in float32, ended by an absolute tolerance."""
    root = values.copy()
    active = values != 0
    while active.any():
        last = np.where(active, root, np.float32(1))
        following = ((last + values / last).astype(np.float64) * 0.5).astype(np.float32)
        root = np.where(active, following, root)
        active = active & (np.abs(following - last) > _NEWTON_TOLERANCE)
    return root


def build_layer_normalization(node: Node) -> Kernel:
    """Build a layer norm over the trailing axes, in the C code's order of float32 operations."""
    axis = positive_axis(int(node.attribute("axis", -1)), len(node.input(0).shape))
    gain, offset = (_read_affine(node, index) for index in (1, 2))
    epsilon, scale = np.float32(node.attribute("epsilon", 1e-5)), node.scale(node.input(0))
    if len([tensor for tensor in node.outputs if tensor is not None]) > 1:
        raise node.refuse("its optional outputs (mean, inverse deviation) are not simulated")

    def run(values: Values) -> tuple[Array, ...]:
        rows = values[0].reshape(*values[0].shape[:axis], -1)
        count = np.float32(rows.shape[-1])
        mean = (rows.sum(axis=-1, keepdims=True, dtype=np.int64) / rows.shape[-1]).astype(np.float32)
        deviation = rows.astype(np.float32) - mean
        variance = sum_in_order(deviation * deviation) * (scale * scale) / count
        inverse = np.float32(1) / newton_root(variance + epsilon)
        normal = (rows.astype(np.float32) * scale - mean * scale) * inverse
        result = normal * (np.float32(1) if gain is None else gain) + (np.float32(0) if offset is None else offset)
        return (node.rules.quantize(result * node.rescale(node.output), node.output.dtype).reshape(values[0].shape),)

    return run


def _read_affine(node: Node, index: int) -> Array | None:
    tensor = node.optional_input(index)
    if tensor is None:
        return None
    if tensor.dtype != node.input(0).dtype:
        raise node.refuse(f"{tensor.name} is {tensor.dtype}, but ESP-DL reads the type of the input")
    return node.parameter(index).astype(np.float32).reshape(-1) * node.scale(tensor)


def build_softmax(node: Node) -> Kernel:
    """Build a softmax with float32 output; int8 inputs go through a table of exponentials without a maximum."""
    axis = positive_axis(int(node.attribute("axis", -1)), len(node.input(0).shape))
    source, kind = node.input(0), node.attribute("quant_type", "S8")
    if node.output.dtype != np.float32:
        raise node.refuse(f"its output is {node.output.dtype}; ESP-DL writes float32")
    table = exp((np.arange(-128, 128).astype(np.float32)) * node.scale(source)) if kind == "S8" else None

    def run(values: Values) -> tuple[Array, ...]:
        rows = np.moveaxis(values[0], axis, -1)
        if table is not None:
            powers = table[rows.astype(np.int16) + 128]
        else:
            floats = rows.astype(np.float32) * (node.scale(source) if kind == "S16" else np.float32(1))
            powers = exp(floats - floats.max(axis=-1, keepdims=True))
        return (np.moveaxis(powers / sum_in_order(powers), -1, axis),)

    return run


KERNELS: KernelTable = {
    "ReduceMean": build_mean,
    "ReduceSum": build_sum,
    "ReduceMax": build_max,
    "ReduceMin": build_min,
    "LayerNormalization": build_layer_normalization,
    "Softmax": build_softmax,
}
