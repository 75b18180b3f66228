"""Transposes, reshapes and slices: allowed as long as time stays an axis of its own."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import torch

from lightning_esp.conversion.building import Builder, same_frame
from lightning_esp.conversion.nodes import Frame
from lightning_esp.conversion.rules.common import Rule, axes_of, per_frame
from lightning_esp.conversion.rules.folding import fold
from lightning_esp.conversion.stream_tensor import Pending, StreamTensor, slide
from lightning_esp.conversion.trace import Constant, Varying, flatten

_END = 2**31 - 1
RESHAPES = frozenset({"reshape", "view", "flatten", "unflatten", "squeeze", "view_as", "reshape_as", "ravel"})


def transpose(build: Builder, x: StreamTensor, *dims: Any, **named: Any) -> StreamTensor:
    """`transpose`, `swapaxes`, `t`, `T`, `mT`: two axes change places."""
    a, b = (*dims, *named.values()) or (-2, -1)
    return per_frame(build, torch.transpose, x, a % len(x.shape), b % len(x.shape))


def permute(build: Builder, x: StreamTensor, *dims: Any, **named: Any) -> StreamTensor:
    """`permute` with its axes as one tuple or one by one."""
    order = (*dims, *named.values())
    return per_frame(build, torch.permute, x, order[0] if isinstance(order[0], tuple) else order)


def movedim(build: Builder, x: StreamTensor, source: Any, destination: Any) -> StreamTensor:
    """`movedim` and `moveaxis`."""
    return per_frame(build, torch.movedim, x, source, destination)


def unsqueeze(build: Builder, x: StreamTensor, dim: int) -> StreamTensor:
    """A new axis of size 1."""
    return per_frame(build, torch.unsqueeze, x, dim % (len(x.shape) + 1))


def reshape(build: Builder, x: StreamTensor | Pending, *_: Any, **__: Any) -> StreamTensor:
    """`reshape`, `view`, `flatten`, `unflatten`, `squeeze`: read off the shapes before and after.

    Time stays an axis of its own, or trades whole frames for channels.
    """
    if isinstance(x, Pending):
        assert x.stream is not None
        x = x.stream
    folded = fold(build, x)
    if folded is not None:
        return folded
    shape = build.shape()
    batch, time = build.axes()
    if not _folds(x, shape, batch, time):
        _check_apart(build, x, shape, batch, time)

    def size(axis: int, n: int) -> Any:
        if axis == batch:
            return -1
        return Frame(x.stride) if axis == time else n

    return per_frame(build, torch.reshape, x, tuple(size(i, n) for i, n in enumerate(shape)))


def _folds(x: StreamTensor, shape: tuple[int, ...], batch: int | None, time: int | None) -> bool:
    """Tell whether `[batch, time, ...]` becomes `[batch * time, ...]`, or comes out of it again."""
    if batch != 0 or x.batch_axis != 0 or not x.moving:
        return False
    if x.folded:
        return time in (0, 1) and prod(shape[: time + 1]) == x.shape[0]
    return x.time_axis == 1 and time == 0 and shape[0] == x.shape[0] * x.shape[1]


def _check_apart(build: Builder, x: StreamTensor, shape: tuple[int, ...], batch: int | None, time: int | None) -> None:
    pairs: tuple[tuple[str, int | None, int | None], ...] = (
        ("the batch", x.batch_axis, batch),
        ("time", x.time_axis, time),
    )
    for name, before, after in pairs:
        if before is None and after is None:
            continue
        same = (
            before is not None
            and after is not None
            and x.shape[before] == shape[after]
            and prod(x.shape[:before]) == prod(shape[:after])
        )
        if not same:
            build.refuse(
                f"mixes {name} with another axis ({list(x.shape)} to {list(shape)})",
                "keep the batch and time in axes of their own and reshape the others, x.flatten(1, 2) of [batch, channels, bins, "
                "time] say; batch and time alone may be joined, [batch, time, ...] to [batch * time, ...]. A layer that all bins "
                "share is nn.Conv2d with a kernel of one bin; a recurrent layer that they share has no form on the chip",
            )


def expand(build: Builder, x: StreamTensor, *_: Any, **__: Any) -> StreamTensor:
    """`expand` and `expand_as`, of a held tensor over time too: a product with ones, since the chip has no Expand."""
    shape = build.shape()
    before = (1,) * (len(shape) - len(x.shape)) + x.shape
    batch, time = build.axes()
    sizes = [1 if b == n or i == batch else n for i, (b, n) in enumerate(zip(before, shape, strict=True))]
    if x.time_axis is None and time is not None:
        like = build.match([run[time] for run in build.runs()])
        sizes[time] = build.frames(like.stride)
        return build.result(build.emit(torch.mul, x, _ones(build, sizes)), [x])
    return per_frame(build, torch.mul, x, _ones(build, sizes))


def _ones(build: Builder, sizes: list[int]) -> Constant:
    return Constant(build.example.new_ones(sizes))


def repeat(build: Builder, x: StreamTensor, *sizes: Any) -> StreamTensor:
    """`repeat` over the axes of channels and bins."""
    times = sizes[0] if isinstance(sizes[0], tuple) else sizes
    shift = len(times) - len(x.shape)
    if any(times[shift + a] != 1 for a in (x.time_axis, x.batch_axis) if a is not None):
        build.refuse("repeats time or the batch", "repeat channels or bins only, or use F.interpolate to upsample")
    return per_frame(build, torch.Tensor.repeat, x, times)


def get_item(build: Builder, x: StreamTensor, index: Any) -> StreamTensor:
    """`x[...]` with slices, numbers, None and `...`; on time a crop, or every n-th frame."""
    items = _spelled(build, x, index if isinstance(index, tuple) else (index,))
    axis = 0
    kept: list[Any] = []
    for item in items:
        if item is None:
            kept.append(item)
            continue
        if axis == x.time_axis:
            x, item = _slice_time(build, x, item)
        elif axis == x.batch_axis and item != slice(None):
            build.refuse("picks from the batch", "leave the batch as it is")
        kept.append(item)
        axis += 1
    return _take(build, x, kept)


def _take(build: Builder, x: StreamTensor, items: list[Any]) -> StreamTensor:
    x = _slice_axes(build, x, [item for item in items if item is not None])
    if any(item is None or isinstance(item, int) for item in items):
        return per_frame(build, torch.reshape, x, _sizes_taken(x, items))
    return x


def _slice_axes(build: Builder, x: StreamTensor, items: list[Any]) -> StreamTensor:
    # One Slice per axis: the runtime knows nothing of several axes at once, and numbers keep their axis until the end.
    for axis, item in enumerate(items):
        if isinstance(item, int):
            x = _narrow(build, x, axis, item % x.shape[axis], 1)
        elif item != slice(None):
            x = _slice_other(build, x, axis, item)
    return x


def _sizes_taken(x: StreamTensor, items: list[Any]) -> tuple[Any, ...]:
    """Sizes without the axes of numbers, and with one of size 1 for each None."""
    sizes = iter(_sizes(x))
    taken = [(item, 1 if item is None else next(sizes)) for item in items]
    return (*(size for item, size in taken if not isinstance(item, int)), *sizes)


def _sizes(x: StreamTensor) -> tuple[Any, ...]:
    return tuple(
        -1 if axis == x.batch_axis else Frame(x.stride) if axis == x.time_axis else size
        for axis, size in enumerate(x.shape)
    )


def _spelled(build: Builder, x: StreamTensor, items: tuple[Any, ...]) -> list[Any]:
    if any(not isinstance(i, int | slice | type(None) | type(Ellipsis)) or isinstance(i, bool) for i in items):
        build.refuse("picks frames or channels by a tensor or a list", "use slices and numbers")
    return spell_index(items, len(x.shape))


def spell_index(items: tuple[Any, ...], ndim: int) -> list[Any]:
    """Write an index out: a slice for each axis that `...`, or nothing, stands for."""
    count = sum(1 for item in items if item is not None and item is not Ellipsis)
    at = next((i for i, item in enumerate(items) if item is Ellipsis), len(items))
    return [*items[:at], *[slice(None)] * (ndim - count), *items[at + 1 :]]


def _slice_other(build: Builder, x: StreamTensor, axis: int, item: slice) -> StreamTensor:
    if any(isinstance(v, Varying) for v in (item.start, item.stop, item.step)):
        build.refuse("cuts channels by a number that follows the recording", "cut by constants")
    start, stop, step = item.indices(x.shape[axis])
    if step == 1:
        return _narrow(build, x, axis, start, max(0, stop - start))
    index = (slice(None),) * axis + (slice(start, stop, step),)
    return _reshaped(build, x, axis, len(range(start, stop, step)), torch.Tensor.__getitem__, x, index)


def _narrow(build: Builder, x: StreamTensor, axis: int, start: int, count: int) -> StreamTensor:
    if (start, count) == (0, x.shape[axis]):
        return x
    return _reshaped(build, x, axis, count, torch.narrow, x, axis, start, count)


def _reshaped(build: Builder, x: StreamTensor, axis: int, count: int, function: Any, *args: Any) -> StreamTensor:
    shape = tuple(count if i == axis else n for i, n in enumerate(x.shape))
    node, pad_value = build.apply(function, *args)
    reads = ((x, same_frame),)
    return build.finish(replace(x, node=node, pad_value=pad_value, shape=shape, reads=reads))


def _slice_time(build: Builder, x: StreamTensor, item: Any) -> tuple[StreamTensor, Any]:
    if not isinstance(item, slice):
        build.refuse(
            "picks one frame out of the recording",
            "return every frame, and pick one after the exported model",
        )
    start, stop = _bounds(build, x, item)
    if x.steady:
        build.refuse("cuts a tensor that was expanded over time", "expand it to the frames that are left")
    x = _crop(build, x, start, stop)
    step = item.step or 1
    return (x, slice(None)) if step == 1 else (_every(build, x, step), slice(None))


def _bounds(build: Builder, x: StreamTensor, item: slice) -> tuple[int, Any]:
    runs = len(build.trace.frames)
    lengths = [int(x.frames[n]) for n in build.trace.frames]
    picked = [slice(_of(item.start, r), _of(item.stop, r)).indices(lengths[r]) for r in range(runs)]
    starts = {start for start, _, _ in picked}
    if len(starts) > 1 or isinstance(item.step, Varying):
        build.refuse(
            f"keeps only the last frames of a recording ({item.start})",
            "return every frame, and cut after the exported model",
        )
    stops = [stop for _, stop, _ in picked]
    from_end = [n - stop for n, stop in zip(lengths, stops, strict=True)]
    if item.stop is None or (isinstance(item.stop, int) and item.stop < 0):
        return starts.pop(), from_end[0]
    if isinstance(item.stop, int):
        if item.stop >= _END:
            return starts.pop(), 0
        build.refuse(f"keeps the first {item.stop} frames of a recording", "cut after the exported model")
    given = [_of(item.stop, r) for r in range(runs)]
    return starts.pop(), _stop(build, given, stops, from_end)


def _stop(build: Builder, given: list[int], stops: list[int], from_end: list[int]) -> Any:
    # An end that is another tensor's length, even beyond the end of this one, follows that tensor; else it stands at a
    # fixed distance from the end.
    lengths = [(s, [int(s.frames[n]) for n in build.trace.frames]) for s in build.streams if s.moving]
    others = [s for ends in (given, stops) for s, found in lengths if found == ends]
    if others:
        return others[0].frames
    if len(set(from_end)) == 1:
        return from_end[0]
    return build.match(stops).frames


def _of(value: Any, run: int) -> Any:
    return value.values[run] if isinstance(value, Varying) else value


def _crop(build: Builder, x: StreamTensor, start: int, stop: Any) -> StreamTensor:
    if isinstance(stop, int):
        return build.pad(x, -start, -stop)
    frames = torch.minimum(stop, x.frames)
    cropped = replace(x, frames=frames, exact=torch.minimum(x.exact, frames), reads=((x, same_frame),))
    return build.pad(build.finish(cropped), -start)


def _every(build: Builder, x: StreamTensor, step: int) -> StreamTensor:
    place = slide(x.delay, 1, step)
    start = -place.history
    index = (slice(None),) * x.time + (slice(start, None, step),)
    node = build.emit(torch.Tensor.__getitem__, x, index)
    return build.finish(replace(x, node=node, **build.slid(x, place)))


def narrow(build: Builder, x: StreamTensor, dim: int, start: Any, length: Any) -> StreamTensor:
    """`narrow`, as the slice that it is."""
    if isinstance(length, Varying):
        values = tuple(_of(start, r) + n for r, n in enumerate(length.values))
        stop: Any = Varying(values)
    else:
        stop = start + length if isinstance(start, int) else Varying(tuple(v + length for v in start.values))
    axis = dim % len(x.shape)
    return get_item(build, x, (slice(None),) * axis + (slice(start, stop),))


def select(build: Builder, x: StreamTensor, dim: int, index: int) -> StreamTensor:
    """`select`: one channel or bin."""
    return get_item(build, x, (slice(None),) * (dim % len(x.shape)) + (index,))


def split(build: Builder, x: StreamTensor, *given: Any, dim: int | None = None, **_: Any) -> tuple[StreamTensor, ...]:
    """`chunk`, `split`, `tensor_split` and `unbind`, as slices: Split has been computed wrongly on the chip."""
    axis = (dim if dim is not None else given[1] if len(given) > 1 else 0) % len(x.shape)
    if axis == x.time_axis:
        build.refuse("cuts time into parts", "cut the channels, or stack past frames by a convolution")
    parts, start = [], 0
    for i in range(len(build.call.results)):
        count = build.shape(i)[axis]
        parts.append(_narrow(build, x, axis, start, count))
        start += count
    return tuple(parts)


def unbind(build: Builder, x: StreamTensor, dim: int = 0) -> tuple[StreamTensor, ...]:
    """`unbind`: every channel or bin on its own."""
    axis = dim % len(x.shape)
    if axis in (x.time_axis, x.batch_axis):
        build.refuse("takes time or the batch apart", "loop over channels or bins only")
    sizes = _sizes(x)[:axis] + _sizes(x)[axis + 1 :]
    parts = [_narrow(build, x, axis, i, 1) for i in range(x.shape[axis])]
    return tuple(_finish_part(build, part, sizes, i) for i, part in enumerate(parts))


def _finish_part(build: Builder, part: StreamTensor, sizes: tuple[Any, ...], index: int) -> StreamTensor:
    node, pad_value = build.apply(torch.reshape, part, sizes)
    return build.result(node, [part], index, pad_value=pad_value)


def flip(build: Builder, x: StreamTensor, *given: Any, dims: Any = ()) -> StreamTensor:
    """`flip` over channels or bins; time reversed needs the end of the recording first."""
    axes = axes_of((*flatten(given), *flatten(dims)), len(x.shape))
    if x.time_axis in axes:
        build.refuse("reverses time, so it needs the end first", "drop the reversed branch, or make it causal")
    return per_frame(build, torch.flip, x, axes)


def roll(build: Builder, x: StreamTensor, shifts: Any, dims: Any = None) -> StreamTensor:
    """`roll` over channels or bins, by slices."""
    axes = axes_of(dims, len(x.shape))
    if dims is None or dims == () or x.batch_axis in axes:
        build.refuse("rolls over all axes or the batch", "name the axis of channels or bins, torch.roll(x, 1, dims=1)")
    if x.time_axis in axes:
        build.refuse("moves the end of the recording to its start", "shift by left padding, F.pad(x, (n, -n))")
    return per_frame(build, take_rolled, x, tuple(flatten(shifts)) if isinstance(shifts, tuple) else (shifts,), axes)


def take_rolled(x: torch.Tensor, shifts: tuple[int, ...], axes: tuple[int, ...]) -> torch.Tensor:
    """`torch.roll` by slices."""
    for shift, axis in zip(shifts, axes, strict=True):
        size = x.shape[axis]
        at = -shift % size
        if at:
            x = torch.cat([x.narrow(axis, at, size - at), x.narrow(axis, 0, at)], axis)
    return x


RULES: dict[str, Rule] = {
    **dict.fromkeys(("transpose", "swapaxes", "swapdims", "t", "T", "mT"), transpose),
    **dict.fromkeys(RESHAPES, reshape),
    **dict.fromkeys(("expand", "expand_as", "broadcast_to"), expand),
    **dict.fromkeys(("movedim", "moveaxis"), movedim),
    **dict.fromkeys(("chunk", "split", "tensor_split", "split_with_sizes"), split),
    "permute": permute,
    "unsqueeze": unsqueeze,
    "repeat": repeat,
    "__getitem__": get_item,
    "narrow": narrow,
    "select": select,
    "unbind": unbind,
    "flip": flip,
    "roll": roll,
}
