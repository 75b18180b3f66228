"""Operators that move integers without computing: they never look at exponents."""

from __future__ import annotations

import numpy as np

from lightning_esp.espdl.kernels.node import (
    Kernel,
    KernelTable,
    Node,
    Values,
    attribute_ints,
    elementwise,
    positive_axis,
    require_same_exponent,
)
from lightning_esp.espdl.model import Array


def build_concat(node: Node) -> Kernel:
    """Build a concatenation of raw integers."""
    axis = positive_axis(int(node.attribute("axis", 0)), len(node.output.shape))

    def run(values: Values) -> tuple[Array, ...]:
        batch = max(value.shape[0] for value in values)
        parts = [np.broadcast_to(value, (batch, *value.shape[1:])) for value in values]
        return (np.concatenate(parts, axis=axis),)

    return run


def read_slices(node: Node) -> tuple[slice, ...]:
    """Return a Slice operator's ranges, one per axis of the file's shape."""
    rank = len(node.input(0).shape)
    starts, ends = node.parameter(1).reshape(-1), node.parameter(2).reshape(-1)
    stored_axes, stored_steps = node.optional_parameter(3), node.optional_parameter(4)
    axes = range(len(starts)) if stored_axes is None else [int(axis) % rank for axis in stored_axes.reshape(-1)]
    steps = [1] * len(starts) if stored_steps is None else [int(step) for step in stored_steps.reshape(-1)]
    slices = [slice(None)] * rank
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if step < 1:
            raise node.refuse(f"its step {step} on axis {axis} is negative, which this package does not simulate")
        slices[axis] = slice(int(start), int(end), step)
    return tuple(slices)


def build_slice(node: Node) -> Kernel:
    """Build a slice with positive steps."""
    slices = (slice(None), *read_slices(node))
    return elementwise(lambda values: values[slices])


def build_split(node: Node) -> Kernel:
    """Build a split; without stored sizes ESP-DL reads `num_outputs` as the size of one part."""
    axis = positive_axis(int(node.attribute("axis", 0)), len(node.input(0).shape))
    length = node.input(0).shape[axis - 1]
    wanted = [tensor.shape[axis - 1] if tensor is not None else 0 for tensor in node.outputs]
    stored = node.optional_parameter(1)
    size = int(node.attribute("num_outputs", 0))
    if stored is not None:
        sizes = [int(part) for part in stored.reshape(-1)]
    elif size > 0:
        sizes = [min(size, length - start) for start in range(0, length, size)]
    else:
        raise node.refuse("it has neither stored sizes nor num_outputs")
    if sizes != wanted:
        raise node.refuse(
            f"its parts are meant to have the lengths {wanted}, but ESP-DL reads num_outputs={size} as the length of a "
            f"part and cuts {sizes}; give explicit sizes (torch.split instead of chunk or GLU)"
        )
    bounds = np.cumsum(sizes)[:-1]
    return lambda values: tuple(np.split(values[0], bounds, axis=axis))


def build_pad(node: Node) -> Kernel:
    """Build a padding of raw integers; the pads stand in the file's axis order."""
    rank = len(node.input(0).shape)
    pads = [int(pad) for pad in node.parameter(1).reshape(-1)]
    if len(pads) != 2 * rank or min(pads) < 0:
        raise node.refuse(f"pads {pads} do not fit {rank} axes, or are negative")
    widths = ((0, 0), *((pads[axis], pads[rank + axis]) for axis in range(rank)))
    mode = node.attribute("mode", "constant")
    if mode == "edge":
        return elementwise(lambda values: np.pad(values, widths, mode="edge"))
    if mode == "reflect":
        return elementwise(lambda values: np.pad(values, widths, mode="reflect"))
    if mode != "constant":
        raise node.refuse(f"mode {mode!r} is not one of ESP-DL's: constant, edge, reflect")
    stored = node.optional_parameter(2)
    if stored is not None and stored.size and stored.dtype != node.input(0).dtype and stored.any():
        raise node.refuse(f"its fill value is {stored.dtype}, but ESP-DL reads {node.input(0).dtype}")
    fill = stored.reshape(-1)[0] if stored is not None and stored.size else 0
    return elementwise(lambda values: np.pad(values, widths, constant_values=fill))


def build_transpose(node: Node) -> Kernel:
    """Build a permutation of axes."""
    rank = len(node.input(0).shape)
    perm = attribute_ints(node.attribute("perm", tuple(reversed(range(rank)))))
    order = (0, *(positive_axis(axis, rank) for axis in perm))
    return elementwise(lambda values: np.transpose(values, order))


def build_reshape(node: Node) -> Kernel:
    """Build a change of shape: the memory keeps its order, so ESP-DL shares the buffer and keeps the exponent."""
    require_same_exponent(node, node.input(0), node.output, "ESP-DL shares one buffer between them")
    shape = node.output.shape
    if int(np.prod(shape)) != int(np.prod(node.input(0).shape)):
        raise node.refuse(f"shapes {node.input(0).shape} and {shape} hold different numbers of values; ESP-DL asserts")
    return elementwise(lambda values: values.reshape(values.shape[0], *shape))


def build_insert_zeros(node: Node) -> Kernel:
    """Build the first half of a transposed convolution: zeros between the frames, and behind the last."""
    spatial = len(node.input(0).shape) - 2
    strides = _per_axis(attribute_ints(node.attribute("stride", (1,))), spatial)
    tails = _per_axis(attribute_ints(node.attribute("output_padding", (0,))), spatial)

    def run(values: Values) -> tuple[Array, ...]:
        source = values[0]
        sizes = [
            size * step - step + 1 + tail for size, step, tail in zip(source.shape[2:], strides, tails, strict=False)
        ]
        spread = np.zeros((*source.shape[:2], *sizes, source.shape[-1]), source.dtype)
        ranges = [slice(0, size - tail, step) for size, step, tail in zip(sizes, strides, tails, strict=True)]
        spread[(slice(None), slice(None), *ranges)] = source
        return (spread,)

    return run


def _per_axis(values: tuple[int, ...], count: int) -> tuple[int, ...]:
    return values * count if len(values) == 1 else values


def build_resize(node: Node) -> Kernel:
    """Build a nearest-neighbour resize of an int8 tensor; sizes and scales stand in NCW or NCHW order."""
    if node.attribute("mode", "nearest") != "nearest" or node.input(0).dtype != np.int8:
        raise node.refuse("only the nearest mode of int8 tensors is simulated (ESP-DL 3.3.9 does nothing for int16)")
    require_same_exponent(node, node.input(0), node.output, "this package simulates a resize at one exponent only")
    before, after = node.input(0).shape[1:-1], node.output.shape[1:-1]
    steps = [np.float32(1) / scale for scale in _read_scales(node, before, after)]
    picks = [
        np.minimum((np.arange(size).astype(np.float32) * step).astype(np.int64), limit - 1)
        for size, step, limit in zip(after, steps, before, strict=True)
    ]

    def run(values: Values) -> tuple[Array, ...]:
        resized = values[0]
        for axis, pick in enumerate(picks):
            resized = np.take(resized, pick, axis=2 + axis)
        return (resized,)

    return run


def _read_scales(node: Node, before: tuple[int, ...], after: tuple[int, ...]) -> list[np.float32]:
    sizes, scales = node.optional_parameter(3), node.optional_parameter(2)
    if sizes is not None and sizes.size:
        return [np.float32(new) / np.float32(old) for old, new in zip(before, after, strict=True)]
    if scales is None or not scales.size:
        raise node.refuse("it has neither sizes nor scales")
    return [np.float32(scale) for scale in scales.reshape(-1)[2:]]


KERNELS: KernelTable = {
    "Concat": build_concat,
    "Slice": build_slice,
    "Split": build_split,
    "Pad": build_pad,
    "Transpose": build_transpose,
    "Reshape": build_reshape,
    "Flatten": build_reshape,
    "Squeeze": build_reshape,
    "Unsqueeze": build_reshape,
    "InsertZeros": build_insert_zeros,
    "Resize": build_resize,
}
