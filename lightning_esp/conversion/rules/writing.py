"""Writes in place: `x[...] = y`, `copy_`, `fill_`. A written tensor is a new one, joined of old and new parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from lightning_esp.conversion.building import Builder, same_frame
from lightning_esp.conversion.nodes import Frame
from lightning_esp.conversion.rules.common import Rule, per_frame
from lightning_esp.conversion.stream_tensor import Pending, StreamTensor
from lightning_esp.conversion.trace import Constant, Shape, Varying

Operand: TypeAlias = "StreamTensor | Constant | Pending"
_WRITES = frozenset({"__setitem__", "copy", "fill", "zero"})
_SHIFT = (
    "build the tensor at once, F.pad(x, (n, 0))[..., : x.shape[-1]] to shift by n frames, torch.cat over the channels"
)


@dataclass(frozen=True)
class _Target:
    """Shape and axes of the tensor that is written to, or of a part of it."""

    shape: Shape
    batch: int | None
    time: int | None

    def without(self, axis: int, size: int) -> _Target:
        return replace(self, shape=tuple(size if i == axis else n for i, n in enumerate(self.shape)))

    @property
    def sizes(self) -> Shape:
        """The shape of a constant of it: 1 where it follows the recording or the batch."""
        return tuple(1 if i in (self.batch, self.time) else n for i, n in enumerate(self.shape))


def set_item(build: Builder, x: Operand, index: Any, value: Any) -> StreamTensor | Pending:
    """`x[index] = value` with slices and numbers, or with a mask of its own shape."""
    if isinstance(index, StreamTensor | Constant):
        return _masked(build, x, index, value)
    batch, time = build.axes()
    target = _Target(build.shape(), batch, time)
    items = _spelled(build, target, index if isinstance(index, tuple) else (index,))
    value = _fitted(build, target, items, value)
    result = _put(build, x, items, value, target)
    if isinstance(result, Constant):
        build.refuse(
            f"overwrites a whole tensor {list(build.shape())} with constants",
            "use the constant instead of the tensor, so that the output depends on the input",
        )
    return result


def _masked(build: Builder, x: Operand, mask: Operand, value: Any) -> StreamTensor:
    if not isinstance(value, int | float) and not (isinstance(value, Constant) and value.value.numel() == 1):
        build.refuse("writes where a mask says, from a tensor", "write torch.where(mask, y, x) instead")
    return per_frame(build, torch.where, mask, value, x)


def copy(build: Builder, x: Operand, source: Any, *_: Any, **__: Any) -> StreamTensor | Pending:
    """`x.copy_(source)`."""
    return set_item(build, x, (Ellipsis,), source)


def fill(build: Builder, x: Operand, value: Any = 0.0) -> StreamTensor | Pending:
    """`x.fill_(value)` and `x.zero_()`."""
    return set_item(build, x, (Ellipsis,), value)


def _spelled(build: Builder, target: _Target, index: Sequence[Any]) -> list[Any]:
    if any(not isinstance(i, int | slice | type(Ellipsis)) or isinstance(i, bool) for i in index):
        build.refuse("writes to places given by a tensor or a list", "write to slices and numbers")
    count = sum(1 for item in index if item is not Ellipsis)
    others = [slice(None)] * (len(target.shape) - count)
    at = next((i for i, item in enumerate(index) if item is Ellipsis), len(index))
    items = [*index[:at], *others, *[item for item in index[at:] if item is not Ellipsis]]
    for axis, item in enumerate(items):
        if axis == target.batch and item != slice(None):
            build.refuse("writes to a part of the batch", "treat all recordings of a batch alike")
        if axis != target.time and any(isinstance(v, Varying) for v in _parts(item)):
            build.refuse("writes to channels by a number that follows the recording", "write to constant places")
    return items


def _parts(item: Any) -> tuple[Any, ...]:
    return (item.start, item.stop, item.step) if isinstance(item, slice) else (item,)


def _fitted(build: Builder, target: _Target, items: Sequence[Any], value: Any) -> Operand:
    """The value with all axes of the target, as large as the place that it is written to."""
    if isinstance(value, Varying):
        build.refuse("writes a number that follows the recording", "write constants, or tensors made from the input")
    numbers = [axis for axis, item in enumerate(items) if not isinstance(item, slice)]
    places = [
        len(_places(item, n)) if isinstance(item, slice) else 1 for item, n in zip(items, target.shape, strict=True)
    ]
    shape = tuple(
        n if i in (target.batch, target.time) else p for i, (n, p) in enumerate(zip(target.shape, places, strict=True))
    )
    if not isinstance(value, StreamTensor):
        tensor = build.fixed(value) if isinstance(value, Constant) else build.example.new_tensor(value)
        return Constant(_widened(tensor, numbers, len(shape)).expand(_Target(shape, target.batch, target.time).sizes))
    stream: StreamTensor = value
    before = [1] * (len(shape) - len(numbers) - len(stream.shape)) + list(stream.shape)
    for axis in numbers:
        before.insert(axis, 1)
    if tuple(before) != stream.shape:
        stream = _reshaped(build, stream, tuple(before), target)
    ones = [1 if i in (target.batch, target.time) or before[i] == n else n for i, n in enumerate(shape)]
    if all(n == 1 for n in ones):
        return stream
    wide = tuple(max(a, b) for a, b in zip(before, ones, strict=True))
    return _made(build, [stream], wide, torch.mul, stream, Constant(build.example.new_ones(ones)))


def _widened(tensor: Tensor, numbers: Sequence[int], ndim: int) -> Tensor:
    tensor = tensor.reshape((1,) * (ndim - len(numbers) - tensor.ndim) + tuple(tensor.shape))
    for axis in numbers:
        tensor = tensor.unsqueeze(axis)
    return tensor


def _places(item: Any, size: int) -> range:
    return range(*item.indices(size)) if isinstance(item, slice) else range(item % size, item % size + 1)


def _put(build: Builder, x: Operand, items: list[Any], value: Operand, target: _Target) -> Operand:
    if target.time is not None and items[target.time] != slice(None):
        items, value = _over_time(build, x, items, value, target)
    sizes = list(target.shape)
    partial = [i for i, item in enumerate(items) if i != target.time and len(_places(item, sizes[i])) < sizes[i]]
    if not partial:
        return value
    axis, places = partial[0], _places(items[partial[0]], sizes[partial[0]])
    if len(partial) > 1:
        inner = [slice(None) if i == axis else item for i, item in enumerate(items)]
        part = target.without(axis, len(places))
        value = _put(build, _joined(build, _picked(build, x, axis, places), axis, part), inner, value, part)
    return _replaced(build, x, axis, places, value, target)


def _over_time(
    build: Builder, x: Operand, items: list[Any], value: Operand, target: _Target
) -> tuple[list[Any], Operand]:
    """A value that is written to all frames but the first or last ones, padded by what stands there."""
    assert target.time is not None
    item = items[target.time]
    if not isinstance(item, slice) or not isinstance(value, StreamTensor) or not isinstance(x, Constant):
        build.refuse("writes to some frames of a recording", _SHIFT)
    lengths = [shape[target.time] for shape in build.runs()]
    spans = [slice(_of(item.start, r), _of(item.stop, r), _of(item.step, r)).indices(n) for r, n in enumerate(lengths)]
    before, after = {span[0] for span in spans}, {n - span[1] for n, span in zip(lengths, spans, strict=True)}
    held = build.fixed(x)
    if len(before) > 1 or len(after) > 1 or spans[0][2] != 1 or not bool((held == held.reshape(-1)[0]).all()):
        build.refuse("writes to some frames of a recording", _SHIFT)
    padded = build.pad(value, before.pop(), after.pop(), float(held.reshape(-1)[0]))
    return [slice(None) if i == target.time else item for i, item in enumerate(items)], padded


def _of(value: Any, run: int) -> Any:
    return value.values[run] if isinstance(value, Varying) else value


def _picked(build: Builder, x: Operand, axis: int, places: Sequence[int]) -> list[tuple[Operand, int]]:
    """For each place along the axis, the tensor that holds it, and where in it."""
    _, known, parts = build.parts.get(id(x), (None, None, ()))
    whole = (
        [(part, i) for part, size in parts for i in range(size)]
        if known == axis
        else [(x, i) for i in range(max(places) + 1)]
    )
    return [whole[i] for i in places]


def _replaced(build: Builder, x: Operand, axis: int, places: Sequence[int], value: Operand, target: _Target) -> Operand:
    held = _picked(build, x, axis, range(target.shape[axis]))
    for i, place in enumerate(places):
        held[place] = (value, i)
    return _joined(build, held, axis, target)


def _joined(build: Builder, held: Sequence[tuple[Operand, int]], axis: int, target: _Target) -> Operand:
    runs: list[tuple[Operand, int, int]] = []
    for operand, i in held:
        if runs and runs[-1][0] is operand and runs[-1][2] == i:
            runs[-1] = (operand, runs[-1][1], i + 1)
        else:
            runs.append((operand, i, i + 1))
    parts = [(_narrowed(build, operand, axis, start, stop - start), stop - start) for operand, start, stop in runs]
    if len(parts) == 1:
        return parts[0][0]
    if not any(isinstance(part, StreamTensor) for part, _ in parts):
        return Constant(torch.cat([build.fixed(p) for p, _ in parts if isinstance(p, Constant)], axis))
    joined: StreamTensor | Pending
    if any(isinstance(part, Constant) and part.varies for part, _ in parts):
        joined = replace(_UNFINISHED)
    else:
        joined = _cat(build, [part for part, _ in parts], axis, target)
    build.parts[id(joined)] = (joined, axis, parts)
    return joined


_UNFINISHED = Pending(
    "gives a tensor that is written in part only, and the rest of which follows the recording or was never set",
    "start from torch.zeros_like(x), or write all of it before it is read",
    _WRITES,
)


def _cat(build: Builder, parts: Sequence[Operand], axis: int, target: _Target) -> StreamTensor:
    streams = [part for part in parts if isinstance(part, StreamTensor)]
    moving = build.align(streams)
    aligned = dict(zip(map(id, streams), moving, strict=True))
    given = [aligned.get(id(part), part) for part in parts]
    nodes = tuple(
        g if isinstance(g, StreamTensor) else build.emit(_spread_over, g, moving[0], target.batch, target.time)
        for g in given
    )
    pad_value = build.pad_value_of(torch.cat, tuple(given), axis)
    return _finished(build, moving, build.emit(torch.cat, nodes, axis), pad_value, target.shape)


def _spread_over(constant: Tensor, like: Tensor, batch: int | None, time: int | None) -> Tensor:
    return constant.expand([like.shape[i] if i in (batch, time) else n for i, n in enumerate(constant.shape)])


def _narrowed(build: Builder, x: Operand, axis: int, start: int, size: int) -> Operand:
    if isinstance(x, Constant):
        return replace(x, value=x.value.narrow(axis, start, size))
    if isinstance(x, Pending):
        build.refuse(x.rule, x.advice)
    if (start, size) == (0, x.shape[axis]):
        return x
    shape = tuple(size if i == axis else n for i, n in enumerate(x.shape))
    return _made(build, [x], shape, torch.narrow, x, axis, start, size)


def _reshaped(build: Builder, x: StreamTensor, shape: Shape, target: _Target) -> StreamTensor:
    sizes = tuple(-1 if i == target.batch else Frame(x.stride) if i == target.time else n for i, n in enumerate(shape))
    return _made(build, [x], shape, torch.reshape, x, sizes, batch_axis=target.batch, time_axis=target.time)


def _made(
    build: Builder, sources: list[StreamTensor], shape: Shape, function: Any, *args: Any, **axes: Any
) -> StreamTensor:
    node, pad_value = build.apply(function, *args)
    return _finished(build, sources, node, pad_value, shape, **axes)


def _finished(
    build: Builder, sources: list[StreamTensor], node: Any, pad_value: Tensor | None, shape: Shape, **axes: Any
) -> StreamTensor:
    reads = tuple((source, same_frame) for source in sources)
    return build.finish(replace(sources[0], node=node, pad_value=pad_value, shape=shape, reads=reads, **axes))


RULES: dict[str, Rule] = {"__setitem__": set_item, "copy": copy, "fill": fill, "zero": fill}
