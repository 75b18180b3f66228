"""`StreamSpec`, what a streaming model looks like from outside: the one source for manifest, C++ header, calibration and simulator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from math import ceil
from typing import Literal, TypeAlias

from torch import Tensor

from lightning_esp.conversion.structure import Structure

Recording: TypeAlias = "Tensor | Mapping[str, Tensor]"
Recordings: TypeAlias = "Sequence[Recording]"
Values: TypeAlias = "dict[str, Tensor]"


@dataclass(frozen=True)
class Port:
    """A tensor that enters or leaves a stage.

    Args:
        name: argument name of `forward` for a model input; `output` or `output_<i>` for a model output.
        shape: shape for one window, batch 1 in front, in torch's layout.
        time_axis: axis of time in `shape`; None for an input that is held for a whole recording.
        stride: of an output: input frames per block of its frames, where that is not the model's stride.
        trim: of an output: input frames before its first frame, where that is not the model's trim.
        delay: of an output: frames that it trails the offline output, where that is not the model's delay.
        unlike_first: of an output: its first frames, which differ from the offline ones since a layer that looks ahead
            pads in front of the recording.
        unlike_last: of an output: its last frames that differ from the offline ones, since these lack the frames that would
            complete them, or hold padding that a layer which looks ahead adds; by the rest of the recording's frames
            divided by the model's stride, empty where there are none.
    """

    name: str
    shape: tuple[int, ...]
    time_axis: int | None
    stride: int | None = None
    trim: int | None = None
    delay: int | None = None
    unlike_first: int = 0
    unlike_last: tuple[int, ...] = ()

    @property
    def frames(self) -> int:
        """Frames per window; 0 for a held input."""
        return 0 if self.time_axis is None else self.shape[self.time_axis]


@dataclass(frozen=True)
class Cache:
    """State of a layer between windows.

    Args:
        name: `<module path>.<name>`.
        shape: shape with batch 1 in front.
        initial: value of every element when a recording starts.
    """

    name: str
    shape: tuple[int, ...]
    initial: float = 0.0

    @cached_property
    def next(self) -> str:
        """Name of the output that holds the new value."""
        return f"{self.name}.next"


@dataclass(frozen=True)
class Stage:
    """A contiguous part of the model that becomes one `.espdl` file.

    The module takes `(*inputs, *caches)` and returns the tuple `(*outputs, *new caches)`, in this order.
    """

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    caches: tuple[Cache, ...] = ()

    @cached_property
    def input_names(self) -> tuple[str, ...]:
        """Names of all arguments, caches last."""
        return (*(port.name for port in self.inputs), *(cache.name for cache in self.caches))

    @cached_property
    def output_names(self) -> tuple[str, ...]:
        """Names of all results, new cache values last."""
        return (*(port.name for port in self.outputs), *(cache.next for cache in self.caches))


@dataclass(frozen=True)
class WindowOption:
    """A window that keeps to a latency.

    Args:
        window: frames.
        latency: seconds from the start of its first frame to the last stage's output, computing included where that is
            known.
        frame_us: microseconds per frame that all stages are estimated to take; None where nothing is known of them.
    """

    window: int
    latency: float
    frame_us: float | None


@dataclass(frozen=True)
class WindowChoice:
    """Choice of a window by `Streaming(window="auto")`.

    Args:
        latency: seconds that were allowed.
        chip: whose figures told the cost.
        options: the windows that were compared, in ascending order.
    """

    latency: float
    chip: str
    options: tuple[WindowOption, ...]


@dataclass(frozen=True)
class Clip:
    """Streaming form of a model that decides on whole clips: each output frame is a decision on the last frames.

    Args:
        frames: input frames of a clip.
        hop: input frames from one decision to the next, the window.
        form: `"incremental"`: layers run frame by frame up to the first that needs the whole clip, where its last frames
            are held; `"sliding"`: the last frames of the input are held, and the whole network runs on them.
        held: the operators in front of which frames are held, by module path and name.
        lookahead: input frames behind a clip that its decision waits for, since a layer in front of what is held pads on
            both sides; with it the form is called incremental with look-ahead.
    """

    frames: int
    hop: int
    form: Literal["incremental", "sliding"]
    held: tuple[str, ...] = ()
    lookahead: int = 0


@dataclass(frozen=True)
class StreamSpec:
    """The outside of a streaming model.

    Args:
        window: input frames per inference.
        stride: input frames per smallest step of the model; `window` is a multiple of it.
        inputs: inputs of the model.
        outputs: outputs of the model.
        stages: its stages in the order of data flow; a stage may read any model input and any earlier stage's output.
        delay: output frames that the streamed output trails the offline output.
        trim: input frames that the offline model consumes before its first output frame (layers without padding).
        receptive_field: input frames that one output frame depends on; None where it is not known.
        frame_period: seconds from one input frame to the next, or None.
        cache_form: `"explicit"`, `"native"` or `"auto"`, as in `Streaming.caches`.
        choice: how the window was chosen, where a latency was given.
        structure: what `forward` returns around its tensors; None where that is a tensor or a flat tuple.
        clip: how it decides on clips, where its offline output has no time axis. The outputs then have one behind their
            other axes, with a frame per decision, from the end of the first whole clip on.
    """

    window: int
    stride: int
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    stages: tuple[Stage, ...]
    delay: int = 0
    trim: int = 0
    receptive_field: int | None = None
    frame_period: float | None = None
    cache_form: Literal["auto", "native", "explicit"] = "explicit"
    choice: WindowChoice | None = None
    structure: Structure | None = field(default=None, compare=False, repr=False)
    clip: Clip | None = None

    @cached_property
    def caches(self) -> tuple[Cache, ...]:
        """The caches of all stages, in order."""
        return tuple(cache for stage in self.stages for cache in stage.caches)

    @cached_property
    def feedback(self) -> dict[str, str]:
        """Name of the output with the new value of each cache, by its name."""
        return {cache.name: cache.next for cache in self.caches}

    @cached_property
    def output_names(self) -> dict[str, str]:
        """Paths of the outputs in what `forward` returns, by the names of their ports; empty without a `structure`."""
        names = () if self.structure is None else self.structure.names
        return {port.name: name for port, name in zip(self.outputs, names, strict=self.structure is not None)}

    @cached_property
    def stream_inputs(self) -> tuple[Port, ...]:
        """The inputs that are sliced along time."""
        return tuple(port for port in self.inputs if port.time_axis is not None)

    def output_frames(self, port: Port, frames: int) -> int:
        """Frames of the offline output `port` for a recording of `frames` input frames."""
        stride = self.stride if port.stride is None else port.stride
        trim = self.trim if port.trim is None else port.trim
        strides = max(0, ceil((frames - trim) / stride))
        return strides * port.frames * stride // self.window

    def settled_frames(self, port: Port, frames: int) -> int:
        """Those of them up to the first of `unlike_last`."""
        lost = port.unlike_last[frames % self.stride] if port.unlike_last else 0
        return max(0, self.output_frames(port, frames) - lost)

    def output_delay(self, port: Port) -> int:
        """Frames that the streamed output `port` trails the offline one."""
        return self.delay if port.delay is None else port.delay

    def windows(self, frames: int) -> int:
        """Windows that a recording of `frames` frames takes, the last one filled up and the delay flushed."""
        needed = [ceil(frames / self.window)]
        for port in self.outputs:
            needed.append(ceil((self.output_frames(port, frames) + self.output_delay(port)) / max(1, port.frames)))
        return max(needed)


@dataclass(frozen=True)
class Layer:
    """One operator of an automatically converted model, for `print`.

    Args:
        path: module that called it, `""` for the model itself.
        operator: name of the torch function.
        caches: names of its caches.
        stride: input frames per frame of its output.
        delay: frames that its output trails the offline tensor.
    """

    path: str
    operator: str
    caches: tuple[str, ...]
    stride: Fraction
    delay: int
