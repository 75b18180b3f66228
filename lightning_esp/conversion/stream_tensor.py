"""Tensor of the model as a stream: its time axis, its stride, and its place beside the offline tensor.

Stream frame `j` of a tensor is offline frame `j - delay`. Left padding costs nothing: it makes the delay negative, and the
frames before the first one then hold `pad_value`, which is what a cache starts with. A layer without padding, or one that
looks ahead, makes the delay positive.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from math import ceil
from typing import TypeAlias

import torch
from torch import Tensor, fx

Reads: TypeAlias = "tuple[tuple[StreamTensor, Callable[[int], Sequence[int]]], ...] | None"


@dataclass(frozen=True, eq=False)
class StreamTensor:
    """One tensor of the streaming graph.

    Args:
        node: what computes it for one window.
        shape: offline shape in the base run of the trace.
        batch_axis: axis of the batch; None for a tensor without.
        time_axis: axis of time; None for a tensor that is held for the whole recording. The axis of the batch where the
            two are one.
        stride: input frames per frame of this tensor.
        delay: frames that the stream trails the offline tensor; negative where left padding is pending.
        frames: offline frames for recordings of 0, 1, 2, ... input frames.
        exact: how many of these the stream gives without looking ahead.
        pad_value: value of the frames before the first one where the delay is negative, time and batch of size 1; None where
            it is not known.
        blame: path and operator that first looked ahead.
        steady: the same in every frame, so it fits any delay.
        reads: for each tensor it is made from, the stream frames that its stream frame `j` needs, in order; None where
            there is no such limit.
    """

    node: fx.Node
    shape: tuple[int, ...]
    batch_axis: int | None
    time_axis: int | None
    stride: Fraction = Fraction(1)
    delay: int = 0
    frames: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    exact: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    pad_value: Tensor | None = None
    blame: str = ""
    steady: bool = False
    reads: Reads = ()

    @property
    def time(self) -> int:
        """The time axis of a tensor that has one."""
        assert self.time_axis is not None
        return self.time_axis

    @property
    def folded(self) -> bool:
        """Tell whether batch and time are one axis, `[batch * time, ...]`: every frame is a recording of its own."""
        return self.time_axis is not None and self.time_axis == self.batch_axis

    @property
    def moving(self) -> bool:
        """Tell whether it must stand at the same delay as its partners."""
        return self.time_axis is not None and not self.steady


@dataclass(frozen=True)
class Refused:
    """A value that cannot be streamed, which matters only if something reads it."""

    rule: str
    advice: str


@dataclass(frozen=True)
class Pending(Refused):
    """A value that cannot be streamed, but what certain operators make of it can.

    Args:
        rule: what is wrong with it, as in `Builder.refuse`.
        advice: what to do.
        offered: names of these operators.
        stream: what they go on from, where it is one tensor.
    """

    offered: frozenset[str] = frozenset()
    stream: StreamTensor | None = None


@dataclass(frozen=True)
class Slide:
    """A kernel that slides over time.

    Args:
        extent: frames that it covers, dilation included.
        dilation: frames from one that it reads to the next.
        stride: frames from one position to the next.
        history: frames before the window that it needs; negative if it skips the first ones of the window.
        delay: delay of its output.
    """

    extent: int
    stride: int
    history: int
    delay: int
    dilation: int = 1


def slide(delay: int, extent: int, stride: int, dilation: int = 1) -> Slide:
    """Place a kernel so that each output comes as early as its input frames allow.

    Args:
        delay: delay of the input.
        extent: frames that the kernel covers.
        stride: frames from one position to the next.
        dilation: frames from one that it reads to the next.
    """
    after = -(-(delay + extent - stride) // stride)
    return Slide(extent, stride, stride * after - delay, after, dilation)


def reach(
    outputs: list[StreamTensor], period: Fraction, streams: list[StreamTensor], inputs: list[StreamTensor]
) -> int | None:
    """Receptive field in input frames: from the first to the last one that an output frame depends on.

    Args:
        outputs: what leaves the model.
        period: input frames after which the pattern repeats.
        streams: every stream, in the order of their making.
        inputs: what enters it.
    """
    if any(stream.reads is None for stream in _sources(outputs, streams)):
        return None
    spans = _ends_of if all(map(_is_even, streams)) else _each_of
    widest = 0
    for output in outputs:
        count = max(1, int(period / output.stride))
        for frame in range(count * 64, count * 65):
            needed = spans(output, frame, streams)
            found = [needed[id(s)] for s in inputs if needed.get(id(s)) and s.time_axis is not None]
            if found:
                widest = max(widest, max(map(max, found)) - min(map(min, found)) + 1)
    return widest


def _sources(outputs: list[StreamTensor], streams: list[StreamTensor]) -> Iterator[StreamTensor]:
    """The moving streams that the outputs are made from, themselves included."""
    wanted = {id(output) for output in outputs}
    for stream in reversed(streams):
        if id(stream) in wanted and stream.time_axis is not None:
            yield stream
            wanted.update(id(source) for source, _ in stream.reads or ())


def _is_even(stream: StreamTensor) -> bool:
    """Tell whether all its frames read some, and later ones later ones: not behind a transposed kernel with holes."""
    for source, reads in stream.reads or ():
        found = [reads(j) for j in range(ceil(source.stride / stream.stride) + 1)]
        if not all(found) or any(a[0] > b[0] or a[-1] > b[-1] for a, b in pairwise(found)):
            return False
    return True


def _ends_of(output: StreamTensor, frame: int, streams: list[StreamTensor]) -> dict[int, Collection[int]]:
    """By stream: the first and the last frame that an output frame needs."""
    needed: dict[int, Collection[int]] = {id(output): (frame, frame)}
    for stream in reversed(streams):
        span = needed.get(id(stream))
        if span is None or stream.time_axis is None:
            continue
        for source, reads in stream.reads or ():
            known = needed.get(id(source), ())
            ends = (reads(min(span))[0], reads(max(span))[-1], *known)
            needed[id(source)] = (min(ends), max(ends))
    return needed


def _each_of(output: StreamTensor, frame: int, streams: list[StreamTensor]) -> dict[int, Collection[int]]:
    """By stream: each frame that an output frame needs, since a dilated kernel may step over some between its ends."""
    needed: dict[int, set[int]] = {id(output): {frame}}
    for stream in reversed(streams):
        if stream.time_axis is None:
            continue
        for source, reads in stream.reads or ():
            needed.setdefault(id(source), set()).update(*(reads(j) for j in needed.get(id(stream), ())))
    return dict(needed)
