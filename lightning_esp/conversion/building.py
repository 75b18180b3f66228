"""`Builder` turns calls of the offline forward into streams: delays, lengths, caches of past frames. The rules call it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, NoReturn

import torch
from torch import Tensor, fx, nn

from lightning_esp.conversion.initial_padding import Offset, in_float64
from lightning_esp.conversion.nodes import Frame, Nodes
from lightning_esp.conversion.spec import Layer
from lightning_esp.conversion.stream_tensor import Pending, Reads, Slide, StreamTensor, slide
from lightning_esp.conversion.trace import Constant, ForwardTrace, replace_values


class Builder(Nodes):
    """The streaming graph while it grows.

    Args:
        trace: what `forward` does.
        window: input frames per inference; None while the stride is still unknown.
        strict: refuse what is exact only inside a recording, away from its ends.
    """

    def __init__(self, trace: ForwardTrace, window: int | None, strict: bool = True) -> None:
        super().__init__(trace, window)
        self.streams: list[StreamTensor] = []
        self.layers: list[Layer] = []
        self.strict = strict
        # By id of a tensor that was written to in place, with itself: the axis and the parts that it is joined of, with sizes.
        self.parts: dict[
            int, tuple[StreamTensor | Pending, int, list[tuple[StreamTensor | Constant | Pending, int]]]
        ] = {}
        self.example = torch.empty(0, dtype=trace.dtype)
        longest = max(trace.frames)
        self.lengths = torch.arange(longest + max(longest, 64))
        self.valid = torch.ones(len(self.lengths), dtype=torch.bool)
        self.valid[0] = False

    def shape(self, result: int = 0, run: int = 0) -> tuple[int, ...]:
        """Offline shape of a result of the call."""
        return self.trace.shapes[self.call.results[result]][run]

    def runs(self, result: int = 0) -> tuple[tuple[int, ...], ...]:
        """Offline shapes of a result of the call in the runs of different length."""
        return self.trace.shapes[self.call.results[result]][:-1]

    def axes(self, result: int = 0) -> tuple[int | None, int | None]:
        """Batch and time axis of a result of the call, from its shapes in the runs."""
        return self._axes_of(self.call.results[result])

    def _axes_of(self, value: int) -> tuple[int | None, int | None]:
        base, *longer, batch = self.trace.shapes[value]
        if any(len(shape) != len(base) for shape in (*longer, batch)):
            self.refuse("gives a tensor whose number of axes depends on the recording", "keep the axes fixed")
        time = [i for i in range(len(base)) if any(shape[i] != base[i] for shape in longer)]
        batches = [i for i in range(len(base)) if batch[i] != base[i]]
        if time == batches == [0] and base[0] * 3 == batch[0] * 2:
            return 0, 0
        if len(time) > 1 or set(time) & set(batches):
            self.refuse(
                f"gives a tensor {list(base)} in which time is in more than one axis or mixed with the batch",
                "keep the batch, the channels and time in axes of their own; attention over all time has no streaming form",
            )
        if len(batches) > 1:
            self.refuse(f"gives a tensor {list(base)} with two batch axes", "keep one")
        return (batches[0] if batches else None), (time[0] if time else None)

    def add_input(self, name: str, shape: tuple[int, ...], time_axis: int | None) -> StreamTensor:
        """Add an input of the model."""
        lengths = self.lengths
        stream = StreamTensor(self.add_placeholder(name), shape, 0, time_axis, frames=lengths, exact=lengths)
        self.streams.append(stream)
        return stream

    def apply(
        self, function: Callable[..., Any] | nn.Module, *args: Any, **kwargs: Any
    ) -> tuple[fx.Node, Tensor | None]:
        """Add an operation that treats each frame alone, and compute its value before the first frame."""
        return self.emit(function, *args, **kwargs), self.pad_value_of(function, *args, **kwargs)

    def pad_value_of(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Tensor | None:
        """Apply `function` to the frames before the first one; None where the result is unknown or not needed."""
        streams = list(streams_in((args, tuple(kwargs.values()))))
        if all(s.delay >= 0 for s in streams) or any(s.pad_value is None for s in streams):
            return None

        def change(item: Any) -> Any:
            if isinstance(item, StreamTensor):
                return item.pad_value
            if isinstance(item, Constant):
                return in_float64(self.fixed(item))
            return 1 if isinstance(item, Frame) else item

        function = in_float64(function)
        with torch.no_grad():
            value = function(*replace_values(args, change), **{k: replace_values(v, change) for k, v in kwargs.items()})
        return value if isinstance(value, Tensor) else None

    def result(self, node: fx.Node, sources: Sequence[StreamTensor], index: int = 0, **changes: Any) -> StreamTensor:
        """The stream of a result of the call, with what it has from its sources unless told otherwise."""
        batch_axis, time_axis = self.axes(index)
        moving = [s for s in sources if s.moving]
        shape = self.shape(index)
        if not moving:
            stream = StreamTensor(node, shape, batch_axis, time_axis)
            if time_axis is not None:
                like = self.match([run[time_axis] for run in self.runs(index)])
                stream = replace(stream, stride=like.stride, frames=like.frames, exact=like.frames, steady=True)
            return self.finish(replace(stream, **changes), index)
        if time_axis is None:
            self.refuse("gives a tensor without a time axis", "keep time, and pool over it after the exported model")
        first = moving[0]
        fields: dict[str, Any] = {
            "stride": first.stride,
            "delay": first.delay,
            "frames": _least([s.frames for s in moving]),
            "exact": _least([s.exact for s in moving]),
            "blame": next((s.blame for s in moving if s.blame), ""),
            "reads": tuple((s, same_frame) for s in moving),
        }
        return self.finish(StreamTensor(node, shape, batch_axis, time_axis, **{**fields, **changes}), index)

    def finish(self, stream: StreamTensor, index: int | None = None) -> StreamTensor:
        """Check a new stream against the runs of the trace and note who looks ahead."""
        if index is not None and stream.time_axis is not None:
            shapes = self.runs(index)
            expected = [int(stream.frames[n]) for n in self.trace.frames]
            # The runs of other lengths have a batch of two.
            found = [shape[stream.time_axis] // (2 if stream.folded else 1) for shape in shapes]
            if expected != found:
                self.refuse(
                    f"gives {found} frames for recordings of {list(self.trace.frames)}, where {expected} were expected",
                    "write streaming_forward and streaming_caches() for this module by hand",
                )
        if stream.time_axis is not None:
            now = int(stream.frames[self.trace.frames[0]]) * (2 if stream.folded else 1)
            shape = tuple(now if i == stream.time_axis else n for i, n in enumerate(stream.shape))
            stream = replace(stream, shape=shape)
        ahead = self.ahead(stream)
        blame = (stream.blame or f"{self.call.where}: {self.call.name}") if ahead > 0 else ""
        stream = replace(stream, blame=blame)
        self.streams.append(stream)
        return stream

    def ahead(self, stream: StreamTensor) -> Fraction:
        """Input frames after the end of the recording that a stream would need to give all offline frames."""
        if stream.time_axis is None or stream.frames is stream.exact:
            return Fraction(0)
        known = self.valid & (stream.frames > 0)
        return int((stream.frames - stream.exact)[known].max()) * stream.stride if bool(known.any()) else Fraction(0)

    def match(self, found: Sequence[int]) -> StreamTensor:
        """Find a stream with this number of frames in the runs of the trace: it tells how they follow the recording."""
        for stream in self.streams:
            if stream.moving and [int(stream.frames[n]) for n in self.trace.frames] == list(found):
                return stream
        raise self.refusal(
            f"takes a number of frames ({found[0]}) that is not the length of any tensor so far",
            "use the length of the tensor that it must fit, or a constant number of frames",
        )

    def check_folded(self, stream: StreamTensor) -> None:
        """Refuse a layer that the chip computes for the first element of the first axis only, where a window has several."""
        if stream.folded and self.frames(stream.stride) > 1:
            self.refuse(
                f"gets {self.frames(stream.stride)} frames of a window in the axis of the batch, of which the chip computes the first",
                f"use Streaming(window={max(1, stream.stride)}), so that a window has one frame there, or apply it on [batch, channels, "
                "time, ...] with a kernel of one frame",
            )

    def align(self, streams: Iterable[StreamTensor]) -> list[StreamTensor]:
        """Delay streams until all stand at one delay, so that their frames belong together."""
        streams = list(streams)
        moving = [s for s in streams if s.moving]
        if not moving:
            return streams
        if len({s.stride for s in moving}) > 1:
            strides = " and ".join(str(p) for p in sorted({s.stride for s in moving}))
            self.refuse(f"joins tensors of {strides} input frames per frame", "bring them to one rate first")
        for other in moving[1:]:
            if other.frames is not moving[0].frames:
                self.valid = self.valid & (other.frames == moving[0].frames)
        delay = max(s.delay for s in moving)
        return [self.delay(s, delay - s.delay) if s.moving else s for s in streams]

    def delay(self, stream: StreamTensor, frames: int) -> StreamTensor:
        """Delay a stream by a cache of its own."""
        if frames == 0:
            return stream
        node = self.emit(torch.narrow, self.remember(stream, frames, "delay"), stream.time, 0, Frame(stream.stride))
        reads = ((stream, lambda j: range(j - frames, j - frames + 1)),)
        return self.finish(replace(stream, node=node, delay=stream.delay + frames, reads=reads))

    def remember(self, stream: StreamTensor, frames: int, label: str = "cache") -> fx.Node:
        """Add a cache: the last `frames` frames before the window, followed by the window."""
        if frames == 0:
            return stream.node
        if stream.folded:
            self.refuse(
                "needs past frames where batch and time are one axis",
                "split them again, x.reshape(batch, time, ...), in front of what joins frames",
            )
        if stream.batch_axis != 0:
            self.refuse("needs past frames of a tensor whose first axis is not the batch", "put the batch in front")
        shape = [1 if i == 0 else n for i, n in enumerate(stream.shape)]
        shape[stream.time] = frames
        start = self._start(stream)
        even = bool((start == start.reshape(-1)[0]).all())
        # A cache starts at one value. Where channels start at several, it holds their distance from these.
        held = stream.node if even else self.emit(Offset(-start, f"{label} {len(self.caches)}"), stream)
        cache = self.add_cache(label, tuple(shape), float(start.reshape(-1)[0]) if even else 0.0)
        whole = self.emit(torch.cat, (cache, held), stream.time)
        self.next_values.append(self.emit(torch.narrow, whole, stream.time, Frame(stream.stride), frames))
        return whole if even else self.emit(Offset(start, f"whole {len(self.caches)}"), whole)

    def _start(self, stream: StreamTensor) -> Tensor:
        """Return the values of the frames before the first one, in float64."""
        if stream.delay >= 0:
            return torch.zeros(1, dtype=torch.float64)
        if stream.pad_value is None:
            self.refuse(
                "starts from left padding that another layer has changed in a way that is not known",
                "pad directly in front of each layer that needs it, F.pad(x, ((kernel - 1) * dilation, 0))",
            )
        if not bool(stream.pad_value.isfinite().all()):
            value = float(stream.pad_value[~stream.pad_value.isfinite()][0])
            self.refuse(f"starts from left padding with {value}", "pad with a finite value")
        return stream.pad_value

    def pad(self, x: StreamTensor, left: int, right: int = 0, value: float = 0.0) -> StreamTensor:
        """Pad time: free of cost on the left, a look-ahead on the right. Negative numbers cut frames off."""
        if left < 0:
            x = self.cut(x, -left)
        if right < 0:
            frames = x.frames + right
            x = self.finish(replace(x, frames=frames, exact=torch.minimum(x.exact, frames), reads=_through(x)))
        if left > 0:
            x = self._pad_left(x, left, value)
        if right > 0:
            x = self.finish(replace(x, frames=x.frames + right, steady=False, reads=_through(x)))
        return x

    def _pad_left(self, x: StreamTensor, left: int, value: float) -> StreamTensor:
        if x.delay > 0 and self.strict:
            self._refuse_late_padding(x)
        pad_value = x.pad_value
        if x.delay >= 0:
            shape = [n if i not in (x.batch_axis, x.time_axis) else 1 for i, n in enumerate(x.shape)]
            pad_value = torch.full(shape, value, dtype=torch.float64)
        elif pad_value is None or not bool((pad_value == value).all()):
            self.refuse("pads frames that are already padded with another value", "pad once, with one value")
        frames, exact = _both(x, lambda n: n + left)
        padded = replace(x, delay=x.delay - left, frames=frames, exact=exact, pad_value=pad_value, steady=False)
        return self.finish(replace(padded, reads=_through(x)))

    def _refuse_late_padding(self, x: StreamTensor) -> NoReturn:
        self.refuse(
            f"pads on the left after {x.delay} frame(s) were dropped by a layer without padding",
            "pad in front of every layer, or of none",
        )

    def cut(self, x: StreamTensor, frames: int) -> StreamTensor:
        """Drop the first offline frames."""
        reads = _through(x)
        left, exact = _both(x, lambda n: n - frames)
        return self.finish(replace(x, delay=x.delay + frames, frames=left, exact=exact, reads=reads))

    def slide(self, x: StreamTensor, extent: int, stride: int, dilation: int = 1) -> tuple[Slide, fx.Node]:
        """Give a sliding kernel the frames that it needs: past frames from a cache, then the window."""
        place = slide(x.delay, extent, stride, dilation)
        if place.history >= 0:
            return place, self.remember(x, place.history)
        # A stride longer than the kernel skips the first frames of the window.
        return place, self.emit(torch.narrow, x, x.time, -place.history, Frame(x.stride, place.history))

    def slid(self, x: StreamTensor, place: Slide) -> dict[str, Any]:
        """The fields of the stream that comes out of a sliding kernel."""

        def reads(j: int) -> range:
            first = place.stride * j - place.history
            return range(first, first + place.extent, place.dilation)

        frames, exact = _both(x, lambda n: torch.div(n - place.extent, place.stride, rounding_mode="floor") + 1)
        return {
            "stride": x.stride * place.stride,
            "delay": place.delay,
            "frames": frames,
            "exact": exact,
            "reads": ((x, reads),),
        }

    def slide_pad_value(self, function: Callable[..., Tensor], x: StreamTensor, extent: int) -> Tensor | None:
        """Apply a sliding kernel to frames before the first one alone."""
        if x.delay >= 0 or x.pad_value is None:
            return None
        shape = list(x.pad_value.shape)
        shape[x.time] = extent
        with torch.no_grad():
            return in_float64(function)(x.pad_value.expand(shape))


def streams_in(value: Any) -> Iterator[StreamTensor]:
    """The streams in an argument."""
    if isinstance(value, tuple | list):
        for item in value:
            yield from streams_in(item)
    elif isinstance(value, StreamTensor):
        yield value


def same_frame(j: int) -> range:
    """Return the frames read by an operation that treats each frame alone."""
    return range(j, j + 1)


def _through(x: StreamTensor) -> Reads:
    return ((x, same_frame),)


def _least(lengths: Sequence[Tensor]) -> Tensor:
    others = [n for n in lengths if n is not lengths[0]]
    return torch.stack([lengths[0], *others]).amin(0) if others else lengths[0]


def _both(x: StreamTensor, change: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    # One object for both says at no cost that nothing looks ahead.
    frames = change(x.frames)
    return frames, frames if x.exact is x.frames else change(x.exact)
