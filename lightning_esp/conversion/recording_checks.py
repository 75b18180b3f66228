"""Recordings that come from outside, checked against the model before anything is computed from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor

from lightning_esp.conversion.slicing import as_named, pad_frames
from lightning_esp.conversion.spec import Recording, Recordings, StreamSpec, Values
from lightning_esp.errors import DataError


def check_kinds(recordings: object) -> None:
    """Check that recordings are a sequence of tensors of real numbers, or of mappings from input name to such a tensor.

    Raises:
        DataError: they are something else; the message names the first and its type.
    """
    given = _as_sequence(recordings)
    for index in range(len(given)):
        check_kind(given[index], f"recording {index}")


def _as_sequence(recordings: object) -> Sequence[Recording]:
    if not isinstance(recordings, Sequence) and not hasattr(recordings, "__getitem__"):
        raise DataError(
            f"the recordings are a {type(recordings).__name__}, which can be read once; they are read several times, so give a list, "
            "list(recordings) say."
        )
    if isinstance(recordings, Tensor | Mapping | str) or not hasattr(recordings, "__len__"):
        raise DataError(
            f"the recordings are a {type(recordings).__name__}; give a list with one tensor for each recording, [recording] say."
        )
    # What has a length and items counts as one, a dataset without a base class, too.
    return cast("Sequence[Recording]", recordings)


def check_kind(recording: object, what: str) -> None:
    """Check that one recording is a tensor of real numbers, or a mapping from input name to such a tensor.

    Args:
        recording: what was given for it.
        what: what the message calls it.

    Raises:
        DataError: it is something else.
    """
    named = recording.items() if isinstance(recording, Mapping) else [("", recording)]
    for name, value in named:
        if fault := fault_of(value):
            raise DataError(f"{what}: input {name!r} {fault}" if name else f"{what} {fault}")


def fault_of(value: object) -> str:
    """Say why an input is no tensor of real numbers, and what to give instead; empty where it is one."""
    if not isinstance(value, Tensor):
        return (
            f"is a {type(value).__name__}; give a tensor, torch.as_tensor(value, dtype=torch.float32) say, or a mapping from "
            "argument name to tensor."
        )
    if value.is_complex():
        return (
            f"is {value.dtype}, and the chip has no complex numbers; give the real and the imaginary part as channels of their "
            "own, and let forward take these."
        )
    return ""


def check_recordings(spec: StreamSpec, recordings: Recordings) -> list[tuple[Values, int]]:
    """Return each recording by input name, with a batch dimension in front, and its frames.

    Raises:
        DataError: there are none, a shape does not fit the model, or a value is NaN or infinite.
    """
    if len(_as_sequence(recordings)) == 0:
        raise DataError("there are no recordings; give at least one to calibrate and verify the model with.")
    checked = []
    for index, recording in enumerate(recordings):
        check_kind(recording, f"recording {index}")
        _check_names(spec, recording, index)
        values = {name: value.unsqueeze(0) for name, value in as_named(spec, recording).items()}
        _check_values(spec, values, index)
        checked.append((values, _check_frames(spec, values, index)))
    return checked


def _check_names(spec: StreamSpec, recording: Recording, index: int) -> None:
    names = [port.name for port in spec.inputs]
    found = names[:1] if isinstance(recording, Tensor) else list(recording)
    missing = [name for name in names if name not in found]
    if missing:
        raise DataError(
            f"recording {index} has the inputs {found}, but not {missing}; give a mapping with a tensor for each of {names}."
        )


def _check_values(spec: StreamSpec, values: Values, index: int) -> None:
    for port in spec.inputs:
        found, expected = list(values[port.name].shape), list(port.shape)
        if port.time_axis is not None and len(found) == len(expected):
            expected[port.time_axis] = found[port.time_axis]
        if found != expected:
            raise DataError(
                f"recording {index}: input {port.name!r} has shape {found[1:]}, but the model takes {expected[1:]} (time on "
                f"axis {(port.time_axis or 1) - 1}, without a batch dimension)."
            )
        if not bool(torch.isfinite(values[port.name]).all()):
            bad = int((~torch.isfinite(values[port.name])).sum())
            raise DataError(
                f"recording {index}: input {port.name!r} has {bad} NaN or infinite value(s); remove the recording, or mend "
                "the features (a logarithm of zero wants a floor)."
            )


def _check_frames(spec: StreamSpec, values: Values, index: int) -> int:
    lead = spec.stream_inputs[0]
    counts = {port.name: values[port.name].shape[port.time_axis or 0] for port in spec.stream_inputs}
    for name, count in counts.items():
        if count != counts[lead.name]:
            raise DataError(
                f"recording {index}: input {name!r} has {count} frames, but {lead.name!r} has {counts[lead.name]}; cut them to "
                f"one length, or hold one for the whole recording with Streaming(inputs={{{name!r}: 'held'}})."
            )
    return counts[lead.name]


def pad_recordings(
    spec: StreamSpec, recordings: Recordings, dtype: torch.dtype = torch.float32
) -> tuple[Values, list[int]]:
    """Recordings as one batch, filled up with zero frames to the longest, and the frames of each.

    Raises:
        DataError: see `check_recordings`.
    """
    checked = check_recordings(spec, recordings)
    longest = max(frames for _, frames in checked)
    batch: Values = {}
    for port in spec.inputs:
        parts = [values[port.name] for values, _ in checked]
        if port.time_axis is not None:
            parts = [pad_frames(part, port.time_axis, longest) for part in parts]
        batch[port.name] = torch.cat(parts).to(dtype)
    return batch, [frames for _, frames in checked]


def cut_recordings(spec: StreamSpec, batch: Values, rows: Sequence[int], frames: int) -> Values:
    """Some recordings of a batch, cut back to their own length."""
    axes = {port.name: port.time_axis for port in spec.inputs}
    chosen = {name: value[list(rows)] for name, value in batch.items()}
    return {n: v if axes[n] is None else v.narrow(axes[n] or 0, 0, frames) for n, v in chosen.items()}
