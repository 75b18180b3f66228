"""Time axis of each input, found by running a module; where nothing tells two axes apart, the user is asked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

from torch import Tensor, cat, nn

from lightning_esp.config import Streaming
from lightning_esp.conversion.calling import argument_names
from lightning_esp.conversion.example import as_example
from lightning_esp.conversion.geometry import sliced, try_run
from lightning_esp.conversion.handwritten import has_contract
from lightning_esp.conversion.spec import Recording, Recordings, Values
from lightning_esp.conversion.time_dependence import Memory, measure, takes_for_time
from lightning_esp.errors import ConfigurationError

Sizes: TypeAlias = "Callable[[Values, int, int, set[str]], list[Values]]"


def _lead(inputs: Values, streaming: Streaming) -> Tensor:
    # Without a word from the user the first input is a stream.
    told = streaming.inputs or {}
    for name, value in inputs.items():
        if told.get(name) != "held":
            return value
    raise ConfigurationError(f"Streaming(inputs={told}) holds every input; at least one must be a 'stream'.")


def resolve_time(module: nn.Module, inputs: Values, streaming: Streaming) -> Streaming:
    """Return `streaming` with `time_axis` and `inputs` filled in.

    Args:
        module: the offline module.
        inputs: example by argument name, batch in front.
        streaming: the user's options; what they set is kept.

    Raises:
        ConfigurationError: `streaming.inputs` names an unknown input, or the time axis cannot be found.
    """
    unknown = sorted(set(streaming.inputs or {}) - set(inputs))
    if unknown:
        raise ConfigurationError(f"Streaming(inputs=...) names {unknown}, but forward takes {list(inputs)}.")
    axis = streaming.time_axis if streaming.time_axis is not None else _find_time_axis(module, inputs, streaming)
    first = _lead(inputs, streaming)
    if not 1 <= axis < first.ndim:
        raise ConfigurationError(
            f"Streaming(time_axis={axis}) is not an axis of the input {list(first.shape)}; axis 0 is the batch, so use "
            f"1 to {first.ndim - 1}."
        )
    resolved = _along(inputs, axis, streaming)
    kinds = resolved.inputs or {}
    _check_rates({name: value for name, value in inputs.items() if kinds[name] == "stream"}, axis)
    return resolved


def _check_rates(streams: Values, axis: int) -> None:
    lengths = {name: value.shape[axis] if axis < value.ndim else 1 for name, value in streams.items()}
    if len(set(lengths.values())) > 1:
        raise ConfigurationError(
            f"the streams have {lengths} frames along time (axis {axis}), but all streams need one rate, since each window "
            "takes as many frames of each. Bring them to the highest rate outside: repeat each frame of the slower one, and "
            "let forward take every n-th frame again, x[..., ::n]. An input that stays the same for a whole recording is "
            'Streaming(inputs={...: "held"}).'
        )


def _along(inputs: Values, axis: int, streaming: Streaming) -> Streaming:
    held = _held(inputs, axis, streaming)
    return replace(streaming, time_axis=axis, inputs={n: "held" if n in held else "stream" for n in inputs})


def _held(inputs: Values, axis: int, streaming: Streaming) -> set[str]:
    told = streaming.inputs or {}
    frames = _lead(inputs, streaming).shape[axis]
    # What streams has as many frames as the first that does.
    held = {name for name, value in inputs.items() if value.ndim <= axis or value.shape[axis] != frames}
    held -= {name for name, kind in told.items() if kind == "stream"}
    return held | {name for name, kind in told.items() if kind == "held"}


def _find_time_axis(module: nn.Module, inputs: Values, streaming: Streaming) -> int:
    first = _lead(inputs, streaming)
    axes = _candidates(module, inputs, streaming)
    if not axes:
        raise ConfigurationError(
            f"the time axis of the input {list(first.shape)} was not found: forward of {type(module).__name__} runs on no "
            "longer or shorter example along any axis, as a layer over all of time (nn.Linear over the frames, a table of positions) "
            "makes it. Give Streaming(time_axis=...), and make forward accept any number of frames."
        )
    if len(axes) == 1 and (has_contract(module) or not _fixed(module, inputs, axes[0], streaming)):
        return axes[0]
    found = {axis: measure(module, inputs, _along(inputs, axis, streaming)) for axis in axes}
    if len(axes) == 1:
        return _sole(module, inputs, streaming, axes[0], found[axes[0]])
    likely = [axis for axis, memory in found.items() if memory is Memory.PAST]
    # Who allows a look-ahead may mean the axis that has one.
    if len(likely) == 1 and not (streaming.lookahead and Memory.AHEAD in found.values()):
        return likely[0]
    raise ConfigurationError(_question(module, first, found))


def _fixed(module: nn.Module, inputs: Values, but: int, streaming: Streaming) -> list[int]:
    """The other axes that could be time, of which forward takes one length only."""
    others = [axis for axis, n in enumerate(_lead(inputs, streaming).shape) if n > 1 and axis not in (0, but)]
    ways = (_doubled_or_halved, _a_little_shorter)
    return [axis for axis in others if all(_follows(module, inputs, axis, streaming, way) is None for way in ways)]


def _sole(module: nn.Module, inputs: Values, streaming: Streaming, axis: int, memory: Memory) -> int:
    """The only axis of which forward takes any length, unless it may as well be the channels of a net over fixed frames."""
    # A layer over all of time goes along the channels as a layer per frame goes along time.
    doubled, *_ = _doubled_or_halved(inputs, axis, 1, _held(inputs, axis, streaming))
    if memory is not Memory.ALONE or takes_for_time(module, inputs, doubled):
        return axis
    shape = list(_lead(inputs, streaming).shape)
    fixed = " and ".join(f"axis {other}" for other in _fixed(module, inputs, axis, streaming))
    others = ", ".join(
        f"Streaming(time_axis={a}) if the {shape[a]} are" for a in _fixed(module, inputs, axis, streaming)
    )
    raise ConfigurationError(
        f"which axis of the input {shape} is time, nothing tells: forward of {type(module).__name__} takes any length along axis "
        f"{axis}, each position by itself, and one length along {fixed}. So does a layer per frame, and so does a layer over all "
        f"of time (an MLP-Mixer, an einsum over frames), along the channels. Give Streaming(time_axis={axis}) if the "
        f"{shape[axis]} are frames, {others}. Recordings of different lengths tell an export, too."
    )


def _question(module: nn.Module, first: Tensor, found: Mapping[int, Memory]) -> str:
    told = "; ".join(f"along axis {a} it {memory.value}" for a, memory in found.items() if memory is not Memory.SOME)
    choices = ", ".join(f"Streaming(time_axis={axis}) if the {first.shape[axis]} are frames" for axis in found)
    return (
        f"which axis of the input {list(first.shape)} is time, nothing tells: forward of {type(module).__name__} takes any "
        f"length along {' and '.join(f'axis {axis}' for axis in found)}{told and f' ({told})'}. Give {choices}. Recordings of different "
        "lengths tell an export, too."
    )


def _candidates(module: nn.Module, inputs: Values, streaming: Streaming) -> list[int]:
    """The axes along which forward takes other lengths, and its output follows; else those that it takes at all."""
    axes = range(1, _lead(inputs, streaming).ndim)
    # Bins may shrink a little under a stride without notice; twice as many, or half, are seldom taken.
    for sizes in (_doubled_or_halved, _a_little_shorter):
        taken = {axis: _follows(module, inputs, axis, streaming, sizes) for axis in axes}
        for wanted in ({True}, {True, False}):
            found = [axis for axis, follows in taken.items() if follows in wanted]
            if found:
                return found
    return []


def _doubled_or_halved(inputs: Values, axis: int, frames: int, held: set[str]) -> list[Values]:
    doubled = {n: v if n in held else cat([v, v], dim=axis) for n, v in inputs.items()}
    return [doubled, *([sliced(inputs, axis, frames // 2, held)] if frames > 1 else [])]


def _a_little_shorter(inputs: Values, axis: int, frames: int, held: set[str]) -> list[Values]:
    return [sliced(inputs, axis, frames - 1, held)] if frames > 1 else []


def _follows(module: nn.Module, inputs: Values, axis: int, streaming: Streaming, sizes: Sizes) -> bool | None:
    """Tell whether the output has another length where the input has; None where forward takes no other length."""
    frames, before = _lead(inputs, streaming).shape[axis], try_run(module, inputs)
    results = [try_run(module, sized) for sized in sizes(inputs, axis, frames, _held(inputs, axis, streaming))]
    # A reshape may turn more frames into more recordings.
    kept = [r for r in results if r is not None and all(value.ndim > 0 and len(value) == 1 for value in r)]
    if before is None or not kept:
        return None
    return any(value[0].shape != before[0].shape for value in kept)


def settle_time(module: nn.Module, recordings: Recordings, streaming: Streaming) -> Streaming:
    """Return `streaming` with the `time_axis` that the lengths of the recordings tell, if they do and it was not given.

    Args:
        module: the offline module.
        recordings: what it sees, without batch dimension.
        streaming: the user's options.
    """
    found = {tuple(_first_of(module, recording, streaming).shape): recording for recording in recordings}
    shapes = list(found)
    if streaming.time_axis is not None or len({len(shape) for shape in shapes}) != 1:
        return streaming
    different = [axis for axis, sizes in enumerate(zip(*shapes, strict=True), 1) if len(set(sizes)) > 1]
    # A recording of other channels than the rest tells nothing.
    ends = [found[shape] for shape in (min(shapes), max(shapes))]
    tells = len(different) == 1 and all(as_example(module, recording) is not recording for recording in ends)
    return replace(streaming, time_axis=different[0]) if tells else streaming


def _first_of(module: nn.Module, recording: Recording, streaming: Streaming) -> Tensor:
    if isinstance(recording, Tensor):
        return recording
    named = {name: recording[name] for name in argument_names(module) if name in recording}
    return _lead(named or dict(recording), streaming)


def name_axis(message: str, inputs: Values, streaming: Streaming) -> str:
    """Add to a message about time, or about frames, which axis that is."""
    if not re.search(r"\b(time|frames?|frame\(s\))", message):
        return message
    shape = list(_lead(inputs, streaming).shape)
    return f"{message} Time is axis {streaming.time_axis} of the input {shape}; Streaming(time_axis=...) names another."
