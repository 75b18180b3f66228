"""Pools, and reductions over axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_esp.espdl import Node, attribute_ints, reduced_axes
from lightning_esp.quantization_aware.kernels.common import Builders, Kernel, factor, limits, power, rounding, single


def _pool(node: Node, fill: float) -> tuple[Callable[[Tensor], Tensor], tuple[int, ...]]:
    """Make a function that lays the values that meet each output position along a last axis; and the kernel."""
    kernel = attribute_ints(node.attribute("kernel_shape", ()))
    space = len(kernel)
    strides = attribute_ints(node.attribute("strides", (1,) * space))
    pads = attribute_ints(node.attribute("pads", (0,) * 2 * space))
    around = [0, 0, *(pads[axis + end * space] for axis in reversed(range(space)) for end in (0, 1))]

    def windows(values: Tensor) -> Tensor:
        padded = F.pad(values, around, value=fill) if any(around) else values
        for axis in range(space):
            padded = padded.unfold(2 + axis, kernel[axis], strides[axis])
        return padded.flatten(-space)

    return windows, kernel


def _mean(node: Node, area: int) -> Callable[[Tensor], Tensor]:
    # In float32, as ESP-DL computes it.
    scale = float(np.float32(factor(node)) * (np.float32(1) / np.float32(area)))
    low, high = limits(node)
    chip = rounding(node)
    return lambda sums: chip.quantize(_in_float32(sums, scale), low, high)


def _in_float32(values: Tensor, scale: float) -> Tensor:
    """Multiply in float32 whatever the type is."""
    return (values.float() * scale).to(values.dtype)


def build_average_pool(node: Node) -> Kernel:
    """Build an average over the whole kernel, padding included."""
    windows, kernel = _pool(node, 0.0)
    mean = _mean(node, int(np.prod(kernel)))
    return single(lambda values: mean(windows(values).sum(-1)))


def build_global_average_pool(node: Node) -> Kernel:
    """Build an average over all positions."""
    axes = tuple(range(2, len(node.input(0).shape)))
    mean = _mean(node, int(np.prod([node.input(0).shape[axis - 1] for axis in axes])))
    return single(lambda values: mean(values.sum(axes, keepdim=True)))


def build_max_pool(node: Node) -> Kernel:
    """Build a maximum; padding never wins."""
    windows, _ = _pool(node, float(np.iinfo(node.input(0).dtype).min))
    return single(lambda values: windows(values).amax(-1))


def _reduction(node: Node, function: Callable[[Tensor, tuple[int, ...]], Tensor]) -> Kernel:
    axes = tuple(axis + 1 for axis in reduced_axes(node))
    keep = bool(node.attribute("keepdims", 1))
    everything = len(axes) == len(node.input(0).shape)

    def run(values: Sequence[Tensor]) -> tuple[Tensor, ...]:
        reduced = function(values[0], axes)
        if keep:
            return (reduced,)
        return (reduced.reshape(-1, 1) if everything else reduced.squeeze(axes),)

    return run


def build_mean(node: Node) -> Kernel:
    """Build a mean: the sum in float32, scaled, divided, scaled again."""
    scale, rescale = power(node.exponent(node.input(0))), power(-node.exponent(node.output))
    count = float(np.prod([node.input(0).shape[axis] for axis in reduced_axes(node)]))
    low, high = limits(node)
    chip = rounding(node)

    def mean(values: Tensor, axes: tuple[int, ...]) -> Tensor:
        sums = values.sum(axes, keepdim=True)
        return chip.quantize((sums.float() * scale / count * rescale).to(values.dtype), low, high)

    return _reduction(node, mean)


def build_sum(node: Node) -> Kernel:
    """Build a sum, shifted to the output's exponent."""
    scale, (low, high), chip = factor(node), limits(node), rounding(node)

    def add(values: Tensor, axes: tuple[int, ...]) -> Tensor:
        sums = values.sum(axes, keepdim=True)
        return chip.shift(sums, torch.tensor(scale).to(sums), low, high)

    return _reduction(node, add)


def build_max(node: Node) -> Kernel:
    """Build a maximum over axes."""
    return _reduction(node, lambda values, axes: values.amax(axes, keepdim=True))


def build_min(node: Node) -> Kernel:
    """Build a minimum over axes."""
    return _reduction(node, lambda values, axes: values.amin(axes, keepdim=True))


BUILDERS: Builders = {
    "AveragePool": build_average_pool,
    "GlobalAveragePool": build_global_average_pool,
    "MaxPool": build_max_pool,
    "ReduceMean": build_mean,
    "ReduceSum": build_sum,
    "ReduceMax": build_max,
    "ReduceMin": build_min,
}
