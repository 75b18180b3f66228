"""Recordings cut into windows, and the outputs of windows joined to recordings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lightning_esp.conversion.spec import Recording, StreamSpec, Values


def as_named(spec: StreamSpec, values: Recording) -> Values:
    """Return inputs by name; a bare tensor is the only input of the model."""
    if isinstance(values, Tensor):
        return {spec.inputs[0].name: values}
    return {port.name: values[port.name] for port in spec.inputs}


def count_frames(spec: StreamSpec, inputs: Mapping[str, Tensor]) -> int:
    """Input frames of a batch of recordings."""
    port = spec.stream_inputs[0]
    assert port.time_axis is not None
    return inputs[port.name].shape[port.time_axis]


def recording_frames(spec: StreamSpec, recording: Recording) -> int:
    """Input frames of a recording without batch dimension."""
    port = spec.stream_inputs[0]
    assert port.time_axis is not None
    return as_named(spec, recording)[port.name].shape[port.time_axis - 1]


def resize_frames(values: Tensor, axis: int, frames: int) -> Tensor:
    """Return `frames` frames along `axis`: the first ones, and all of them again and again where there are fewer."""
    return values.index_select(axis, torch.arange(frames) % values.shape[axis])


def pad_frames(values: Tensor, axis: int, frames: int) -> Tensor:
    """Append zero frames along `axis` until there are `frames`."""
    missing = frames - values.shape[axis]
    if missing <= 0:
        return values
    shape = list(values.shape)
    shape[axis] = missing
    return torch.cat([values, values.new_zeros(shape)], dim=axis)


def slice_windows(spec: StreamSpec, inputs: Mapping[str, Tensor]) -> list[Values]:
    """Cut a batch of recordings into windows; the last is filled up and the delay flushed with zero frames."""
    count = spec.windows(count_frames(spec, inputs))
    windows: list[Values] = [{} for _ in range(count)]
    for port in spec.inputs:
        if port.time_axis is None:
            parts: Sequence[Tensor] = [inputs[port.name]] * count
        else:
            padded = pad_frames(inputs[port.name], port.time_axis, count * port.frames)
            parts = torch.split(padded, port.frames, dim=port.time_axis)
        for window, part in zip(windows, parts, strict=True):
            window[port.name] = part
    return windows


def join_windows(spec: StreamSpec, outputs: Sequence[Mapping[str, Tensor]], frames: int) -> Values:
    """Join the outputs of consecutive windows and cut them to the offline shape of `frames` input frames."""
    joined: Values = {}
    for port in spec.outputs:
        assert port.time_axis is not None
        whole = torch.cat([values[port.name] for values in outputs], dim=port.time_axis)
        joined[port.name] = whole.narrow(port.time_axis, spec.output_delay(port), spec.output_frames(port, frames))
    return joined
