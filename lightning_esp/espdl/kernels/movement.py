"""Operators that move integers without computing: they never look at exponents."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lightning_esp.espdl.espdl_model import Array
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


def build_concat(node: Node) -> Kernel:
    """Build a concatenation of raw integers."""
    axis = positive_axis(int(node.attribute("axis", 0)), len(node.input(0).shape))

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
        if step > 0:
            slices[axis] = slice(int(start), int(end), step)
            continue
        size = node.input(0).shape[axis]
        if (step, slice(int(start), int(end), step).indices(size)) != (-1, (size - 1, -1, -1)):
            raise node.refuse(
                f"it takes {start}:{end}:{step} of axis {axis}; ESP-DL takes the same distance from the other end of the axis "
                "before it turns it around, which is right for a whole axis in steps of -1 only"
            )
        slices[axis] = slice(None, None, -1)
    return tuple(slices)


def build_slice(node: Node) -> Kernel:
    """Build a slice with positive steps, or of whole axes turned around."""
    slices = (slice(None), *read_slices(node))
    return elementwise(lambda values: values[slices])


def build_split(node: Node) -> Kernel:
    """Build a split; without stored sizes ESP-DL reads `num_outputs` as the length of one part."""
    axis = positive_axis(int(node.attribute("axis", 0)), len(node.input(0).shape))
    bounds = np.cumsum(_part_lengths(node, node.input(0).shape[axis - 1]))[:-1]
    return lambda values: tuple(np.split(values[0], bounds, axis=axis))


def _part_lengths(node: Node, length: int) -> list[int]:
    stored = node.optional_parameter(1)
    if stored is not None:
        return [int(part) for part in stored.reshape(-1)]
    count = int(node.attribute("num_outputs", 0))
    if count < 1:
        raise node.refuse("it has neither stored sizes nor num_outputs")
    meant, read = _cut(length, -(-length // count)), _cut(length, count)
    if meant != read:
        raise node.refuse(
            f"its parts are meant to have the lengths {meant}, but ESP-DL reads num_outputs={count} as the length of a "
            f"part and cuts {read}; give explicit sizes (torch.split instead of chunk or GLU)"
        )
    return meant


def _cut(length: int, part: int) -> list[int]:
    return [min(part, length - start) for start in range(0, length, part)]


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


def _build_view(node: Node, shape: Sequence[int]) -> Kernel:
    """Build a change of shape: the memory keeps its order, so ESP-DL shares the buffer and keeps the exponent."""
    require_same_exponent(node, node.input(0), node.output, "ESP-DL shares one buffer between them")
    size = math.prod(node.input(0).shape)
    if math.prod(shape) != size:
        raise node.refuse(
            f"shape {tuple(shape)} does not hold the {size} values of {node.input(0).shape}; ESP-DL asserts"
        )
    return elementwise(lambda values: values.reshape(values.shape[0], *shape))


def build_reshape(node: Node) -> Kernel:
    """Build a reshape to a stored shape; 0 keeps an axis, -1 takes what is left."""
    before = node.input(0).shape
    wanted = [int(size) for size in node.parameter(1).reshape(-1)]
    if not node.attribute("allowzero", 0):
        wanted = [before[axis] if size == 0 else size for axis, size in enumerate(wanted)]
    known = math.prod(size for size in wanted if size != -1)
    return _build_view(node, [math.prod(before) // max(known, 1) if size == -1 else size for size in wanted])


def build_flatten(node: Node) -> Kernel:
    """Build a flattening to two axes."""
    before = node.input(0).shape
    axis = positive_axis(int(node.attribute("axis", 1)), len(before)) - 1
    return _build_view(node, (math.prod(before[:axis]), math.prod(before[axis:])))


def build_squeeze(node: Node) -> Kernel:
    """Build the removal of axes of length 1; without stored axes, of all of them."""
    before, stored = node.input(0).shape, node.optional_parameter(1)
    axes = range(len(before)) if stored is None else [int(axis) % len(before) for axis in stored.reshape(-1)]
    return _build_view(node, [size for axis, size in enumerate(before) if size != 1 or axis not in axes])


def build_unsqueeze(node: Node) -> Kernel:
    """Build the insertion of axes of length 1."""
    before, stored = list(node.input(0).shape), node.parameter(1).reshape(-1)
    rank = len(before) + len(stored)
    for axis in sorted(int(axis) % rank for axis in stored):
        before.insert(axis, 1)
    return _build_view(node, before)


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
    before = node.input(0).shape[1:-1]
    after, scales = _read_scales(node, before)
    picks = [
        np.minimum((np.arange(size).astype(np.float32) * (np.float32(1) / scale)).astype(np.int64), limit - 1)
        for size, scale, limit in zip(after, scales, before, strict=True)
    ]

    def run(values: Values) -> tuple[Array, ...]:
        resized = values[0]
        for axis, pick in enumerate(picks):
            resized = np.take(resized, pick, axis=2 + axis)
        return (resized,)

    return run


def _read_scales(node: Node, before: tuple[int, ...]) -> tuple[list[int], list[np.float32]]:
    """Return the new lengths of the spatial axes, and the scales that ESP-DL computes with."""
    sizes, scales = node.optional_parameter(3), node.optional_parameter(2)
    if sizes is not None and sizes.size:
        after = [int(size) for size in sizes.reshape(-1)[2:]]
        return after, [np.float32(new) / np.float32(old) for old, new in zip(before, after, strict=True)]
    if scales is None or not scales.size:
        raise node.refuse("it has neither sizes nor scales")
    factors = [np.float32(scale) for scale in scales.reshape(-1)[2:]]
    return [int(np.float32(old) * factor) for old, factor in zip(before, factors, strict=True)], factors


KERNELS: KernelTable = {
    "Concat": build_concat,
    "Slice": build_slice,
    "Split": build_split,
    "Pad": build_pad,
    "Transpose": build_transpose,
    "Reshape": build_reshape,
    "Flatten": build_flatten,
    "Squeeze": build_squeeze,
    "Unsqueeze": build_unsqueeze,
    "InsertZeros": build_insert_zeros,
    "Resize": build_resize,
}
