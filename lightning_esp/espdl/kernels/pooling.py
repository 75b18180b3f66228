"""Average, maximum and global average pools over NWC or NHWC tensors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lightning_esp.espdl.espdl_model import Array
from lightning_esp.espdl.kernels.node import Kernel, KernelTable, Node, Values, attribute_ints


def _read_pads(node: Node, kernel: tuple[int, ...], strides: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    rank = len(kernel)
    if node.attribute("auto_pad", "NOTSET") not in ("NOTSET", ""):
        raise node.refuse("auto_pad is ignored by ESP-DL; give explicit pads")
    if any(step != 1 for step in attribute_ints(node.attribute("dilations", (1,) * rank))):
        raise node.refuse("dilations are ignored by ESP-DL's pools")
    pads = attribute_ints(node.attribute("pads", (0,) * (2 * rank)))
    sizes = [size + pads[axis] + pads[rank + axis] for axis, size in enumerate(node.input(0).shape[1:-1])]
    left = [(size - length) % step for size, length, step in zip(sizes, kernel, strides, strict=True)]
    if node.attribute("ceil_mode", 0) and any(left):
        raise node.refuse(f"ceil_mode is ignored by ESP-DL's pools, so the last {max(left)} frame(s) would be lost")
    return tuple((pads[axis], pads[rank + axis]) for axis in range(rank))


def _windows(padded: Array, kernel: tuple[int, ...], strides: tuple[int, ...]) -> Iterator[Array]:
    """Yield, for each tap of the kernel, the values that meet it, one per output position."""
    for tap in np.ndindex(*kernel):
        slices = [slice(None), slice(None)]
        for axis, offset in enumerate(tap):
            count = (padded.shape[2 + axis] - kernel[axis]) // strides[axis] + 1
            slices.append(slice(offset, offset + (count - 1) * strides[axis] + 1, strides[axis]))
        yield padded[tuple(slices)]


def _pad(values: Array, pads: tuple[tuple[int, int], ...], fill: int) -> Array:
    if not any(before or after for before, after in pads):
        return values
    return np.pad(values, ((0, 0), (0, 0), *pads, (0, 0)), constant_values=fill)


def _average(node: Node, sums: Array, area: int) -> Array:
    factor = node.scale(node.input(0)) * (np.float32(1) / np.float32(area)) * node.rescale(node.output)
    return node.rules.quantize(sums.astype(np.float32) * factor, node.output.dtype)


def build_average_pool(node: Node) -> Kernel:
    """Build an average; ESP-DL always divides by the whole kernel, padding included."""
    kernel = attribute_ints(node.attribute("kernel_shape", ()))
    strides = attribute_ints(node.attribute("strides", (1,) * len(kernel)))
    pads = _read_pads(node, kernel, strides)

    def run(values: Values) -> tuple[Array, ...]:
        padded = _pad(values[0], pads, 0)
        sums: Any = 0
        for window in _windows(padded, kernel, strides):
            sums = sums + window.astype(np.int32)
        return (_average(node, sums, int(np.prod(kernel))),)

    return run


def build_global_average_pool(node: Node) -> Kernel:
    """Build an average over all positions."""

    def run(values: Values) -> tuple[Array, ...]:
        axes = tuple(range(2, values[0].ndim - 1))
        sums = values[0].sum(axis=axes, keepdims=True, dtype=np.int32)
        return (_average(node, sums, int(np.prod([values[0].shape[axis] for axis in axes]))),)

    return run


def build_max_pool(node: Node) -> Kernel:
    """Build a maximum of raw integers; padding never wins."""
    kernel = attribute_ints(node.attribute("kernel_shape", ()))
    strides = attribute_ints(node.attribute("strides", (1,) * len(kernel)))
    pads = _read_pads(node, kernel, strides)

    def run(values: Values) -> tuple[Array, ...]:
        padded = _pad(values[0], pads, int(np.iinfo(values[0].dtype).min))
        return (np.maximum.reduce(list(_windows(padded, kernel, strides))),)

    return run


KERNELS: KernelTable = {
    "AveragePool": build_average_pool,
    "GlobalAveragePool": build_global_average_pool,
    "MaxPool": build_max_pool,
}
