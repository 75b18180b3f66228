"""What a stream knows of one tensor of the model: its time axis, its pace, and how it stands to the offline tensor.

Stream frame `j` of a tensor is offline frame `j - lag`. Left padding costs nothing: it makes the lag negative, and the
frames before the first one then hold `rest`, which is what a cache starts with. A layer without padding, or one that
looks ahead, makes the lag positive.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TypeAlias

import torch
from torch import Tensor, fx

Reads: TypeAlias = "tuple[tuple[Stream, Callable[[int], tuple[int, int]]], ...] | None"


@dataclass(frozen=True, eq=False)
class Stream:
    """One tensor of the streaming graph.

    Args:
        node: what computes it for one window.
        shape: offline shape in the base run of the trace.
        batch_axis: axis of the batch; None for a tensor without.
        time_axis: axis of time; None for a tensor that is held for the whole recording.
        pace: input frames per frame of this tensor.
        lag: frames that the stream trails the offline tensor; negative where left padding is pending.
        frames: offline frames for recordings of 0, 1, 2, ... input frames.
        exact: how many of these the stream gives without looking ahead.
        rest: value of the frames before the first one where the lag is negative, time and batch of size 1; None where
            it is not known.
        blame: path and operator that first looked ahead.
        steady: the same in every frame, so it fits any lag.
        reads: for each tensor it is made from, the first and last stream frame that its stream frame `j` needs; None
            where there is no such limit.
    """

    node: fx.Node
    shape: tuple[int, ...]
    batch_axis: int | None
    time_axis: int | None
    pace: Fraction = Fraction(1)
    lag: int = 0
    frames: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    exact: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    rest: Tensor | None = None
    blame: str = ""
    steady: bool = False
    reads: Reads = ()

    @property
    def time(self) -> int:
        """The time axis of a tensor that has one."""
        assert self.time_axis is not None
        return self.time_axis

    @property
    def moving(self) -> bool:
        """Whether it must stand at the same lag as its partners."""
        return self.time_axis is not None and not self.steady


@dataclass(frozen=True)
class Refused:
    """A value that cannot be streamed, which matters only if something reads it."""

    rule: str
    advice: str


@dataclass(frozen=True)
class Slide:
    """A kernel that slides over time.

    Args:
        extent: frames that it covers, dilation included.
        stride: frames from one position to the next.
        history: frames before the window that it needs; negative if it skips the first ones of the window.
        lag: lag of its output.
    """

    extent: int
    stride: int
    history: int
    lag: int


def slide(lag: int, extent: int, stride: int) -> Slide:
    """Place a kernel so that each output comes as early as its input frames allow.

    Args:
        lag: lag of the input.
        extent: frames that the kernel covers.
        stride: frames from one position to the next.
    """
    after = -(-(lag + extent - stride) // stride)
    return Slide(extent, stride, stride * after - lag, after)


def reach(outputs: list[Stream], period: Fraction, streams: list[Stream], inputs: list[Stream]) -> int | None:
    """Receptive field in input frames: from the first to the last one that an output frame depends on.

    Args:
        outputs: what leaves the model.
        period: input frames after which the pattern repeats.
        streams: every stream, in the order of their making.
        inputs: what enters it.
    """
    widest = 0
    for output in outputs:
        count = max(1, int(period / output.pace))
        for frame in range(count * 64, count * 65):
            found = _reach_of(output, frame, streams, inputs)
            if found is None:
                return None
            widest = max(widest, found)
    return widest


def _reach_of(output: Stream, frame: int, streams: list[Stream], inputs: list[Stream]) -> int | None:
    needed: dict[int, tuple[int, int]] = {id(output): (frame, frame)}
    for stream in reversed(streams):
        span = needed.get(id(stream))
        if span is None or stream.time_axis is None:
            continue
        if stream.reads is None:
            return None
        for source, reads in stream.reads:
            first, last = reads(span[0])[0], reads(span[1])[1]
            known = needed.get(id(source), (first, last))
            needed[id(source)] = (min(known[0], first), max(known[1], last))
    spans = [needed[id(stream)] for stream in inputs if id(stream) in needed and stream.time_axis is not None]
    if not spans:
        return 0
    return max(last for _, last in spans) - min(first for first, _ in spans) + 1
