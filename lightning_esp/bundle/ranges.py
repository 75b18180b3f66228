"""The numbers of a model, which must have sense together: windows, strides, delays, exponents.

A manifest may hold any number in the right form; what computes with them allocates by them and divides by them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lightning_esp.conversion import Port, StreamSpec
from lightning_esp.errors import BundleError
from lightning_esp.quantization import CacheInfo, QuantizedModel

# Frames, a minute of samples at 16 kHz: far beyond any model for these chips, and few enough to allocate.
MAX_FRAMES = 2**20
MAX_COUNT = 2**31 - 1
# Microseconds, which the firmware holds in 32 bits.
MAX_PERIOD = MAX_COUNT / 1e6
# Those of float32, subnormal numbers included: 2 to this is a number on the chip.
EXPONENTS = range(-149, 128)


def check_ranges(quantized: QuantizedModel) -> None:
    """Check the numbers of a model against what they may be, and against the shapes of its tensors.

    Raises:
        BundleError: one has no sense; the message names its key in the manifest, its value and the rule.
    """
    for fault in _faults(quantized):
        raise BundleError(f"{fault}. Export again.")


def _faults(quantized: QuantizedModel) -> Iterator[str]:
    yield from _faults_of_stream(quantized.spec)
    for port in quantized.spec.outputs:
        yield from _faults_of_output(quantized.spec, port)
    for stage in quantized.stages:
        for tensor in stage.tensors:
            yield from _outside(f"exponent of tensor {tensor.name!r}", tensor.exponent, EXPONENTS[0], EXPONENTS[-1])
        for cache in stage.caches:
            yield from _faults_of_start(cache)


def _faults_of_stream(spec: StreamSpec) -> Iterator[str]:
    yield from _outside("streaming.window", spec.window, 1, MAX_FRAMES)
    yield from _faults_of_pace("streaming", spec.window, spec.stride, spec.trim, spec.delay)
    if spec.receptive_field is not None:
        yield from _outside("streaming.receptive_field", spec.receptive_field, 0, MAX_COUNT)
    if spec.frame_period is not None and not 0 < spec.frame_period <= MAX_PERIOD:
        yield f"streaming.frame_period is {_show(spec.frame_period)}; it must be above 0 and at most {MAX_PERIOD:g} seconds"
    if spec.clip is not None:
        yield from _outside("streaming.clip.frames", spec.clip.frames, 1, MAX_FRAMES)
        yield from _outside("streaming.clip.hop", spec.clip.hop, 1, MAX_FRAMES)
        yield from _outside("streaming.clip.lookahead", spec.clip.lookahead, 0, MAX_FRAMES)
    if not spec.stream_inputs:
        yield "streaming.inputs names no input with an axis of time; a model must have one"
    for port in spec.stream_inputs:
        if port.frames != spec.window:
            yield (
                f"input {port.name!r} has {_show(port.frames)} frames of a window, and streaming.window is "
                f"{_show(spec.window)}; they must be equal"
            )


def _faults_of_edges(spec: StreamSpec, port: Port) -> Iterator[str]:
    where, last = f"streaming.edges.{port.name}", port.unlike_last
    if len(last) not in {0, spec.stride}:
        yield f"{where}.unlike_last has {len(last)} numbers, and the stride is {spec.stride}; it must have as many, or none"
    for key, value in (("unlike_first", port.unlike_first), *(("unlike_last", value) for value in last)):
        if not 0 <= value <= MAX_FRAMES:
            yield f"{where}.{key} holds {_show(value)}; it must be 0 to {MAX_FRAMES}"


def _faults_of_output(spec: StreamSpec, port: Port) -> Iterator[str]:
    own = {"stride": port.stride, "trim": port.trim, "delay": port.delay}
    usual = {"stride": spec.stride, "trim": spec.trim, "delay": spec.delay}
    values = {key: usual[key] if value is None else value for key, value in own.items()}
    yield from _faults_of_pace(f"streaming.paces.{port.name}", spec.window, **values)
    yield from _faults_of_edges(spec, port)
    if port.time_axis is None:
        yield f"time_axis of output {port.name!r} is None; an output of the model must have an axis of time"
    elif port.frames > MAX_FRAMES or port.frames * values["stride"] % spec.window:
        yield (
            f"output {port.name!r} has {_show(port.frames)} frames of a window of {spec.window} with a stride of "
            f"{values['stride']}; that must be at most {MAX_FRAMES}, and a whole number for each stride"
        )


def _faults_of_pace(key: str, window: int, stride: int, trim: int, delay: int) -> Iterator[str]:
    yield from _outside(f"{key}.stride", stride, 1, MAX_FRAMES)
    if window % stride:
        yield f"{key}.stride is {stride}, and streaming.window is {window}; the window must be a multiple of it"
    yield from _outside(f"{key}.trim", trim, -MAX_FRAMES, MAX_FRAMES)
    yield from _outside(f"{key}.delay", delay, 0, MAX_FRAMES)


def _faults_of_start(cache: CacheInfo) -> Iterator[str]:
    dtype = cache.tensor.dtype
    limits = np.finfo(np.float32) if dtype == "float32" else np.iinfo(dtype)
    yield from _outside(f"initial of cache {cache.tensor.name!r}", cache.initial, int(limits.min), int(limits.max))


def _outside(key: str, value: int, least: int, most: int) -> Iterator[str]:
    if not least <= value <= most:
        yield f"{key} is {_show(value)}; it must be {least} to {most}"


def _show(value: float) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
