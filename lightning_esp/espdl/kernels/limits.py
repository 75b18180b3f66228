"""Limits that ESP-DL 3.3.9 asserts, or passes without a word: arity, ranks, shapes and attributes of every operator.

A limit takes an operator with the shapes that ESP-DL computes, and returns why the chip can't run it, or None.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

import numpy as np

from lightning_esp.espdl.espdl_model import Tensor
from lightning_esp.espdl.kernels.node import Node, attribute_ints

Limit = Callable[[Node], str | None]

_LARGEST_MERGED = 4
_QUANT_TYPES = {"S8": "int8", "S16": "int16"}


def broken_limit(node: Node) -> str | None:
    """Return the limit of ESP-DL that an operator breaks.

    Args:
        node: The operator; its input tensors have the shapes that ESP-DL computes.

    Returns:
        The reason, to be followed by a full stop; None where the chip runs it.
    """
    for tensor in node.inputs:
        if tensor is not None and 0 in tensor.shape:
            return f"{tensor.name} has the shape {tensor.shape}; ESP-DL asserts on a tensor without elements"
    reasons = (limit(node) for limit in LIMITS.get(node.operator.type, ()))
    return next((reason for reason in reasons if reason), None)


def _ranks(*allowed: int) -> Limit:
    def limit(node: Node) -> str | None:
        shape = node.input(0).shape
        return (
            None if len(shape) in allowed else f"its input has {len(shape)} axes, {shape}; ESP-DL takes {allowed} axes"
        )

    return limit


def _one_recording(node: Node) -> str | None:
    """The kernels of convolutions and pools compute the first element of the first axis, and leave the others."""
    shape = node.input(0).shape
    if shape[:1] in ((), (1,)):
        return None
    return f"the first axis of its input {shape} is longer than 1, and ESP-DL computes its first element only"


def _spatial_attributes(*names: str) -> Limit:
    """Attributes that are lists hold one number per spatial axis; `pads` holds two."""

    def limit(node: Node) -> str | None:
        spatial = len(node.input(0).shape) - 2
        for name in names:
            value = node.attribute(name, None)
            wanted = spatial * (2 if name == "pads" else 1)
            if value is not None and len(attribute_ints(value)) != wanted:
                return f"its {name} {value} are not {wanted} numbers, as for {spatial} spatial axes"
        return None

    return limit


def _bias_type(node: Node) -> str | None:
    bias = node.optional_input(2)
    wanted = {"int8": "int32", "int16": "int64"}.get(str(node.input(0).dtype))
    if bias is None or wanted is None or str(bias.dtype) == wanted:
        return None
    return f"its bias {bias.name} is {bias.dtype}; ESP-DL asserts that the bias of an {node.input(0).dtype} layer is {wanted}"


def _padding(node: Node) -> str | None:
    """Tell why padding that holds a whole kernel is refused: ESP-DL's filters get no or negative lengths there."""
    kernel = node.input(1).shape[2:]
    pads = attribute_ints(node.attribute("pads", ()))
    steps = attribute_ints(node.attribute("dilations", (1,) * len(kernel)))
    for axis, (length, step) in enumerate(zip(kernel, steps, strict=True)):
        widest = max((0, *pads[axis :: len(kernel)]))
        if widest > (length - 1) * step:
            return (
                f"its padding of {widest} on spatial axis {axis} holds a whole kernel ({length} taps, dilation {step}), "
                "for which ESP-DL reads outside of the filter; pad the tensor before the layer"
            )
    return None


def _kernel_rank(node: Node) -> str | None:
    weight, rank = node.input(1), len(node.input(0).shape)
    return None if len(weight.shape) == rank else f"its filter has {len(weight.shape)} axes where its input has {rank}"


def _named_width(node: Node) -> str | None:
    """Concat and InsertZeros copy as many bytes as `quant_type` says, float32 where it says neither S8 nor S16."""
    wanted = _QUANT_TYPES.get(node.attribute("quant_type", "F32"), "float32")
    other = [tensor for tensor in node.inputs if tensor is not None and str(tensor.dtype) != wanted]
    if not other:
        return None
    return f"{other[0].name} is {other[0].dtype}, but its quant_type lets ESP-DL copy {wanted}"


def _several_parts(node: Node) -> str | None:
    count = len(node.inputs)
    return None if count > 1 else f"it has {count} input(s); ESP-DL asserts that there are more than one"


def _parts_agree(node: Node) -> str | None:
    shapes = [tensor.shape for tensor in node.inputs if tensor is not None]
    rank = len(shapes[0])
    axis = int(node.attribute("axis", 0))
    if not -rank <= axis < rank:
        return f"its axis {axis} is none of {rank}"
    rests = {(*shape[: axis % rank], *shape[axis % rank + 1 :]) for shape in shapes}
    agree = len(rests) == 1 and all(len(shape) == rank for shape in shapes)
    return None if agree else f"its parts {shapes} differ beside axis {axis % rank}; ESP-DL asserts"


def _slice_bounds(node: Node) -> str | None:
    shape = node.input(0).shape
    starts, ends = node.parameter(1).reshape(-1), node.parameter(2).reshape(-1)
    stored, steps = node.optional_parameter(3), node.optional_parameter(4)
    if steps is not None and (steps < 1).any():
        # Its bounds mean something else; the kernel says what is not simulated of it.
        return None
    axes = range(len(starts)) if stored is None else [int(axis) % len(shape) for axis in stored.reshape(-1)]
    for axis, start, end in zip(axes, starts, ends, strict=False):
        size = shape[axis]
        if start < -size or end < -size:
            return (
                f"it begins or ends {min(start, end)} from the end of an axis of {size}; ESP-DL reads before the tensor"
            )
        if len(range(*slice(int(start), int(end)).indices(size))) == 0:
            return f"it takes nothing of axis {axis}, {start}:{end} of {size}; ESP-DL asserts"
    return None


def _split_sizes(node: Node) -> str | None:
    stored, shape = node.optional_parameter(1), node.input(0).shape
    axis = int(node.attribute("axis", 0)) % len(shape)
    if stored is None:
        return None
    sizes = [int(size) for size in stored.reshape(-1)]
    if len(sizes) != len(node.outputs):
        return f"its sizes {sizes} are not those of {len(node.outputs)} outputs"
    return None if sum(sizes) == shape[axis] else f"its sizes {sizes} do not add up to {shape[axis]}; ESP-DL asserts"


def _pad_axes(node: Node) -> str | None:
    shape, pads = node.input(0).shape, [int(pad) for pad in node.parameter(1).reshape(-1)]
    mode = node.attribute("mode", "constant")
    if node.input(1).dtype != np.int64:
        return f"its pads are {node.input(1).dtype}; ESP-DL reads int64 only"
    if mode == "constant" or len(shape) <= 4 or len(pads) != 2 * len(shape):
        return None
    if len(shape) > 5 or pads[0] or pads[5] or (shape[0] > 1 and (pads[1] or pads[6])):
        return f"ESP-DL pads {len(shape)} axes {shape} with {pads} in mode 'constant' only, and else writes nothing"
    return None


def _reflected(node: Node) -> str | None:
    shape, pads = node.input(0).shape, [int(pad) for pad in node.parameter(1).reshape(-1)]
    if node.attribute("mode", "constant") != "reflect" or len(pads) != 2 * len(shape):
        return None
    for axis, size in enumerate(shape):
        widest = max(pads[axis], pads[axis + len(shape)])
        if widest >= size:
            return f"it reflects {widest} elements of axis {axis}, which has {size}"
    return None


def _permutation(node: Node) -> str | None:
    rank, perm = len(node.input(0).shape), node.attribute("perm", None)
    if perm is None:
        return "it has no attribute perm, which ESP-DL reads at load"
    order = [axis % rank if rank else axis for axis in attribute_ints(perm)]
    return None if sorted(order) == list(range(rank)) else f"its perm {perm} is no order of {rank} axes"


def _stored_shape(node: Node) -> str | None:
    stored = node.parameter(1)
    if stored.dtype != np.int64:
        return f"its shape is {stored.dtype}; ESP-DL reads int64"
    if (stored == 0).any() and node.attribute("allowzero", None) is None:
        return "its shape holds a 0, which ESP-DL reads by the attribute allowzero, and it has none"
    return None


def _unsqueezed_axes(node: Node) -> str | None:
    stored = node.parameter(1).reshape(-1)
    if len(stored) > 1 and (stored < 0).any():
        return f"its axes {stored.tolist()} are several and negative; ESP-DL counts each from the rank before plus 1"
    return None


def merged_pairs(first: Sequence[int], second: Sequence[int]) -> int:
    """Count the axes that are left where ESP-DL has merged neighbours that broadcast alike.

    Args:
        first: Shape of one operand.
        second: Shape of the other.
    """
    rank = max(len(first), len(second))
    padded = [(*[1] * (rank - len(shape)), *shape) for shape in (first, second)]
    kinds = [_broadcast(above, below) for above, below in zip(*padded, strict=True) if (above, below) != (1, 1)]
    return max(1, len(list(groupby(kinds))))


def _broadcast(first: int, second: int) -> str:
    return "both" if first == second else "first" if second == 1 else "second"


def _merged_operands(node: Node) -> str | None:
    first, second = node.input(0).shape, node.input(1).shape
    if not first and not second:
        return "both operands have no axes, for which ESP-DL computes nothing"
    clash = [
        pair for pair in zip(reversed(first), reversed(second), strict=False) if pair[0] != pair[1] and 1 not in pair
    ]
    if clash:
        return f"its operands {first} and {second} do not broadcast"
    count = merged_pairs(first, second)
    if count <= _LARGEST_MERGED:
        return None
    return f"its operands {first} and {second} broadcast by turns on {count} groups of axes; ESP-DL asserts at most 4"


def _merged_reduction(node: Node) -> str | None:
    rank, axes = len(node.input(0).shape), reduced_axes(node)
    if len(node.input(0).file_shape or node.input(0).shape) != rank:
        return f"the file describes {node.input(0).name} with {len(node.input(0).file_shape)} axes, and it has {rank}; ESP-DL asserts"
    if not axes:
        return "it reduces no axis, for which ESP-DL reduces all and writes one element"
    runs = len(list(groupby(axis in axes for axis in range(rank))))
    if runs <= _LARGEST_MERGED:
        return None
    return f"reduced and kept axes of {node.input(0).shape} alternate {runs} times; ESP-DL computes nothing beyond 4"


def reduced_axes(node: Node) -> tuple[int, ...]:
    """Return the axes of the file's shape over which a reduction goes."""
    rank, stored = len(node.input(0).shape), node.optional_parameter(1)
    if stored is not None and stored.size:
        return tuple(sorted({int(axis) % rank for axis in stored.reshape(-1)}))
    return () if node.attribute("noop_with_empty_axes", 0) else tuple(range(rank))


def _affine_size(node: Node) -> str | None:
    shape = node.input(0).shape
    count = math.prod(shape[int(node.attribute("axis", -1)) % len(shape) :])
    short = [t for t in (node.optional_input(1), node.optional_input(2)) if t is not None and _count(t) != count]
    return f"{short[0].name} has {_count(short[0])} elements where ESP-DL reads {count}" if short else None


def _count(tensor: Tensor) -> int:
    return math.prod(tensor.shape)


def _has_axes(node: Node) -> str | None:
    return None if node.input(0).shape else "its input has no axes"


def _matrix_ranks(node: Node) -> str | None:
    first, second = (len(node.input(index).shape) for index in (0, 1))
    largest = max(first, second)
    if largest > 4 or min(first, second) < 2:
        return (
            f"its operands have {first} and {second} axes; this package simulates 2 to 4, and ESP-DL has no more than 4"
        )
    return None


_ELEMENTWISE: tuple[Limit, ...] = (_merged_operands,)
_POOL: tuple[Limit, ...] = (_ranks(3, 4), _one_recording, _spatial_attributes("kernel_shape", "strides", "pads"))

LIMITS: Mapping[str, tuple[Limit, ...]] = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), _ELEMENTWISE),
    "Conv": (
        _ranks(3, 4),
        _one_recording,
        _kernel_rank,
        _spatial_attributes("strides", "dilations", "pads"),
        _padding,
        _bias_type,
    ),
    "Gemm": (_has_axes, _bias_type),
    "MatMul": (_matrix_ranks,),
    "AveragePool": _POOL,
    "MaxPool": _POOL,
    "GlobalAveragePool": (_ranks(3, 4), _one_recording),
    "Concat": (_several_parts, _parts_agree, _named_width),
    "Slice": (_has_axes, _slice_bounds),
    "Split": (_has_axes, _split_sizes),
    "Pad": (_has_axes, _pad_axes, _reflected),
    "Transpose": (_permutation,),
    "Reshape": (_stored_shape,),
    "Unsqueeze": (_unsqueezed_axes,),
    "InsertZeros": (_ranks(3, 4), _named_width),
    "Resize": (_ranks(3, 4), _one_recording),
    **dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"), (_merged_reduction,)),
    "LayerNormalization": (_has_axes, _affine_size),
    "Softmax": (_has_axes,),
}
