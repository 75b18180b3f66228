"""`ClipBuilder`: a streaming graph that may hold the last frames of a tensor, and go on with whole clips from there.

Up to the first operator that needs all of time, layers run frame by frame. In front of it the frames of the last clip are
held in a cache; behind it each window computes what the offline network computes, on tensors without a moving time axis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from typing import Any

import torch
from torch import Tensor, fx

from lightning_esp.conversion.building import Builder
from lightning_esp.conversion.edges import count_first
from lightning_esp.conversion.stream_tensor import StreamTensor
from lightning_esp.conversion.trace import Call, Constant, ForwardTrace
from lightning_esp.errors import ConversionError, NotCausalError

# These move values and make none.
_TURNS = ("unsqueeze", "squeeze", "transpose", "permute", "movedim", "reshape", "flatten", "unflatten")


@dataclass(frozen=True)
class Held:
    """Frames of a stream that are held for an operator.

    Args:
        stream: what is held.
        call: the operator.
        count: frames.
    """

    stream: StreamTensor
    call: Call
    count: int


class TooFarError(NotCausalError):
    """A tensor that is held waits for frames that nobody allowed; `made` is the first value that does."""

    made: int = -1


class NeedsClipError(ConversionError):
    """A call has no streaming form, or what it makes has none that can be held; `made` is the first value that it makes."""

    made: int = -1


class ClipBuilder(Builder):
    """The streaming graph of a model that decides on clips.

    Args:
        trace: what `forward` does; its base run is a clip.
        window: input frames from one decision to the next; None while the stride is still unknown.
        ends: windows after which the first clip is whole, as the pass before found; 0 in the first.
        lookahead: input frames that a held tensor may wait for.
    """

    def __init__(self, trace: ForwardTrace, window: int | None, ends: int, lookahead: int) -> None:
        super().__init__(trace, window, strict=False)
        self.whole = False
        self.ends = ends
        self.needed = 1
        self.held: list[Held] = []
        self._lookahead = lookahead
        self._made: dict[int, tuple[StreamTensor, int]] = {}
        self._clips: dict[int, StreamTensor] = {}
        self._padded: dict[int, StreamTensor] = {}
        self._cut: dict[tuple[int, int, int], StreamTensor] = {}

    def _axes_of(self, value: int) -> tuple[int | None, int | None]:
        if not self.whole:
            return super()._axes_of(value)
        base, batch = self.trace.shapes[value][0], self.trace.shapes[value][-1]
        follows = [i for i, (a, b) in enumerate(zip(base, batch, strict=True)) if a != b]
        if len(follows) > 1:
            self.refuse(f"gives a tensor {list(base)} with two batch axes", "keep one")
        return (follows[0] if follows else None), None

    def finish(self, stream: StreamTensor, index: int | None = None) -> StreamTensor:
        """See `Builder.finish`; notes the call that made the stream."""
        made = super().finish(stream, index)
        self._made[id(made)] = (made, self.call.results[0] if self._call is not None else -1)
        return made

    def fixed(self, constant: Constant) -> Tensor:
        """See `Nodes.fixed`; of whole clips what fits their length is the same for all."""
        return constant.value if self.whole and constant.fits_clip else super().fixed(constant)

    def is_clip(self, value: Any) -> bool:
        """Tell whether a value is made of a whole clip."""
        return isinstance(value, StreamTensor) and id(value) in self._clips

    def as_clip(self, stream: StreamTensor) -> StreamTensor:
        """Note that a value is made of a whole clip."""
        self._clips[id(stream)] = stream
        return stream

    def hold(self, x: StreamTensor, first: int = 0, count: int | None = None) -> StreamTensor:
        """Hold frames of the last clip.

        Args:
            x: a stream with a time axis.
            first: the first frame, counted from the start of the clip.
            count: how many; None for all from there on.

        Raises:
            TooFarError: it waits for frames behind the clip.
            ConversionError: no cache can hold it.
        """
        total = x.shape[x.time] // (2 if x.folded else 1)
        count = total - first if count is None else count
        key = (id(x), first, count)
        if key not in self._cut:
            self._check_ahead(x)
            self._cut[key] = self._hold(x, total, first, count)
            self.held.append(Held(x, self.call, count))
        return self._cut[key]

    def _check_ahead(self, x: StreamTensor) -> None:
        if x.steady:
            self.refuse("needs a whole clip of a tensor that was expanded over time", "expand it behind the pooling")
        if self.ahead(x) <= self._lookahead:
            self._check_like(x)
            return
        error = TooFarError(str(self.refusal("needs frames behind the clip", "allow Streaming(lookahead=...)")))
        error.made = self._origin(x, lambda s: self.ahead(s) > self._lookahead)
        raise error

    def _check_like(self, x: StreamTensor) -> None:
        """Hold only what has the frames of the clip alone.

        Behind a clip and in front of it offline pads zeros in each layer; a stream has there what the layers before make
        of zeros, which differs where they drop frames or look ahead.
        """
        if self._is_unlike(x):
            error = NeedsClipError(str(self.refusal("needs frames that padding enters into", "pad the input alone")))
            error.made = self._origin(x, self._is_unlike)
            raise error

    def _is_unlike(self, x: StreamTensor) -> bool:
        # What a recurrent layer gives has no frames of its own to tell: it follows nothing that drops or awaits any.
        return bool(x.reads) and ((self.ahead(x) > 0 and self._is_padded(x)) or count_first(x, self.streams) > 0)

    def _is_padded(self, x: StreamTensor) -> bool:
        return id(x) in self._padded or any(self._is_padded(source) for source, _ in x.reads or ())

    def pad(self, x: StreamTensor, left: int, right: int = 0, value: float = 0.0) -> StreamTensor:
        """See `Builder.pad`; notes what is padded behind with other values than the stream has there."""
        padded = super().pad(x, left, right, value)
        if right > 0 and (value != 0 or not _is_input(x.node)):
            self._padded[id(padded)] = padded
        return padded

    def _origin(self, x: StreamTensor, has: Callable[[StreamTensor], bool]) -> int:
        """The value with which a stream began to have what it has."""
        source = next((s for s, _ in x.reads or () if has(s)), None)
        return self._origin(source, has) if source is not None else self._made[id(x)][1] if id(x) in self._made else -1

    def _remember(self, x: StreamTensor, history: int) -> fx.Node:
        try:
            return self.remember(x, history, "clip")
        except ConversionError as refusal:
            if not _is_turned(x):
                raise
            # What was there before the batch left the front, or time joined it, can be held.
            error = NeedsClipError(str(refusal))
            error.made = self._origin(x, _is_turned)
            raise error from refusal

    def _hold(self, x: StreamTensor, total: int, first: int, count: int) -> StreamTensor:
        per, ends = self._ends(x, total)
        # Frames of the stream from the first one that is wanted to the newest.
        reach = int(ends * per) - x.delay - first if self.window is not None else count + 1
        history = reach - int(per)
        node = self._remember(x, history) if history > 0 else self._newest(x, -history)
        if reach > count:
            node = self.emit(torch.narrow, node, x.time, 0, count)
        shape = tuple(count if i == x.time_axis else n for i, n in enumerate(x.shape))
        held = replace(x, node=node, shape=shape, time_axis=None, delay=0, pad_value=None, reads=())
        return self.as_clip(self.finish(held))

    def _ends(self, x: StreamTensor, total: int) -> tuple[Fraction, int]:
        per = Fraction(self.frames(x.stride))
        self.needed = max(self.needed, ceil((total + x.delay) / per))
        return per, max(self.ends, self.needed)

    def _newest(self, x: StreamTensor, skipped: int) -> fx.Node:
        return self.emit(torch.narrow, x, x.time, skipped, self.frames(x.stride) - skipped) if skipped else x.node

    def result(self, node: fx.Node, sources: Sequence[StreamTensor], index: int = 0, **changes: Any) -> StreamTensor:
        """See `Builder.result`; of whole clips nothing but the batch is known, and needed."""
        if not self.whole:
            return super().result(node, sources, index, **changes)
        batch, _ = self.axes(index)
        return self.finish(StreamTensor(node, self.shape(index), batch, None), index)


def _is_input(node: fx.Node) -> bool:
    """Tell whether a node is an input, its axes in another order or split at most, so that zeros behind it stay zeros."""
    if node.op == "placeholder":
        return bool(node.meta.get("input", False))
    name = getattr(node.target, "__name__", node.target)
    return name in _TURNS and all(map(_is_input, node.all_input_nodes))


def _is_turned(x: StreamTensor) -> bool:
    """Tell whether the first axis is not the batch alone."""
    return x.folded or x.batch_axis != 0
