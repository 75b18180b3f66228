"""Proof 1: the streamed float output equals the offline output."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count

import torch
from torch import Tensor, nn

from lightning_esp.conversion import (
    Port,
    Recordings,
    StreamingModel,
    StreamSpec,
    Values,
    as_tuple,
    check_recordings,
    copy_module,
    cut_recordings,
    doubled,
    in_double,
    join_windows,
    pad_recordings,
    run,
    single_thread,
    slice_windows,
)
from lightning_esp.errors import DataError
from lightning_esp.verification.proof import Proof

LIMITS = {torch.float32: 1e-5, torch.float64: 1e-10}

# How many times its own distance from float64 a network in float32 may differ from itself in another order of sums.
ROUNDINGS = 8

# Float64 tells an error of the form from one of rounding, for which a few recordings do; convolutions take it slowly.
FLOAT64_RECORDINGS = 8


@dataclass(frozen=True)
class Difference:
    """The worst difference found: its size relative to `max(1, max |offline|)`, and where it begins."""

    relative: float
    where: str


def float_parity(
    module: nn.Module, model: StreamingModel, recordings: Recordings
) -> tuple[tuple[Proof, ...], tuple[str, ...]]:
    """Compare streamed and offline output over whole recordings, in float32 and in float64.

    Args:
        module: the offline module.
        model: its streaming form.
        recordings: without batch dimension; lengths may differ. In float64, the first 8 of them.

    Returns:
        The proofs, and notes about what could not be compared.
    """
    notes = _open_ends(model, recordings)
    single = replace(model, stages=tuple(copy.deepcopy(stage).float().eval() for stage in model.stages))
    worst = _worst(copy_module(module).eval().float(), single, recordings, torch.float32)
    proofs = [_proof(torch.float32, worst)]
    wide, double = copy_module(module).eval().double(), in_double(model)
    try:
        with doubled():
            worst = _worst(wide, double, recordings[:FLOAT64_RECORDINGS], torch.float64)
        proofs.append(_proof(torch.float64, worst))
    except RuntimeError as error:
        notes.append(
            f"{_name(torch.float64)} was not compared, since forward reads float32 tensors that are neither parameters nor "
            f"buffers: {error}"
        )
    if len(proofs) == 2 and proofs[1].passed and not proofs[0].passed:
        noise = _rounding(copy_module(module).eval().float(), wide, model, recordings)
        proofs[0] = _allow(proofs[0], noise)
        notes.append(
            f"{_name(torch.float32)} is judged by what rounding does to the network itself, whose output is {noise:.2g} away "
            "from that in float64: it subtracts numbers that are much larger than their difference"
        )
    return tuple(proofs), tuple(notes)


def _name(dtype: torch.dtype) -> str:
    return f"float parity, {str(dtype).removeprefix('torch.')}"


def _open_ends(model: StreamingModel, recordings: Recordings) -> list[str]:
    """Say which frames are not compared."""
    spec, found = model.spec, []
    lengths = [frames for _, frames in check_recordings(spec, recordings)]
    spans = {port: [(spec.output_frames(port, n), *_span(spec, port, n)) for n in lengths] for port in spec.outputs}
    if any(total - last for port, each in spans.items() for total, _, last in each if _is_open(spec, port)):
        found.append(
            f"an incomplete last stride of less than {spec.stride} frames was not compared, since offline lacks the frames "
            "that complete it"
        )
    edges = [span for port, each in spans.items() for span in each if not _is_open(spec, port)]
    lost = max((first for _, first, _ in edges), default=0), max((total - last for total, _, last in edges), default=0)
    if any(lost):
        found.append(
            f"up to {lost[0]} output frame(s) at the start and {lost[1]} at the end of a recording were not compared, since "
            "layers that look ahead pad zeros there offline, and the stream has what the layers before make of zeros"
        )
    return found


def _is_open(spec: StreamSpec, port: Port) -> bool:
    # Whole strides are right to the end, so nobody looks ahead.
    return port.unlike_first == 0 and not any(port.unlike_last[:1])


def _span(spec: StreamSpec, port: Port, frames: int) -> tuple[int, int]:
    return comparable(spec, port, frames, spec.output_frames(port, frames))


def _proof(dtype: torch.dtype, worst: Difference) -> Proof:
    limit = LIMITS[dtype]
    return Proof(
        _name(dtype),
        worst.relative,
        limit,
        # A NaN must not pass.
        bool(worst.relative <= limit),
        worst.where,
        "Compare forward and streaming_forward of that module: padding = (kernel - 1) * dilation frames of cache, kept from "
        "the concatenated input, and started from zeros.",
    )


def _allow(proof: Proof, noise: float) -> Proof:
    """Judge a sum in another order by what rounding alone does to the network, where that is more."""
    limit = max(proof.limit, ROUNDINGS * noise)
    return replace(proof, limit=limit, passed=bool(proof.figure <= limit))


@single_thread()
@torch.inference_mode()
def _rounding(module: nn.Module, wide: nn.Module, model: StreamingModel, recordings: Recordings) -> float:
    """Return the distance of the offline network in float32 from float64, relative to `max(1, max |output|)`."""
    named = [inputs for inputs, _ in check_recordings(model.spec, recordings)]
    single = [run(module, {name: value.float() for name, value in inputs.items()}) for inputs in named]
    with doubled():
        double = [run(wide, {name: value.double() for name, value in inputs.items()}) for inputs in named]
    outputs = [pair for ours, theirs in zip(single, double, strict=True) for pair in zip(ours, theirs, strict=True)]
    distances = [float((a - b).abs().max()) / max(1.0, float(b.abs().max())) for a, b in outputs if b.numel()]
    return max(distances, default=0.0)


@single_thread()
@torch.inference_mode()
def _worst(module: nn.Module, model: StreamingModel, recordings: Recordings, dtype: torch.dtype) -> Difference:
    worst = Difference(0.0, "")
    batch, lengths = pad_recordings(model.spec, recordings, dtype)
    # Streamed all at once: what is filled up behind a recording cannot change its own frames.
    streamed = _stream(model, batch)
    usable = _usable(model.spec, sorted(set(lengths)))
    for frames in usable:
        rows = [row for row, length in enumerate(lengths) if length == frames]
        inputs = cut_recordings(model.spec, batch, rows, frames)
        with _stage_outputs(module, model) as offline:
            outputs = run(module, inputs)
        offline |= {port.name: value for port, value in zip(model.spec.outputs, outputs, strict=True)}
        windows = [{name: value[rows] for name, value in values.items()} for values in streamed]
        found = _compare(model, windows, offline, frames)
        if not found.relative <= worst.relative:
            worst = found
    return worst


def _usable(spec: StreamSpec, lengths: list[int]) -> list[int]:
    """The lengths that show something.

    Raises:
        DataError: no recording has a frame of some output that can be compared.
    """
    shown = {port: [n for n in lengths if len(range(*_span(spec, port, n)))] for port in spec.outputs}
    for port, found in shown.items():
        if not found and spec.output_frames(port, lengths[-1]) == 0:
            raise DataError(
                f"all recordings are too short for an output frame: the longest has {lengths[-1]} frames, and the model "
                f"consumes {spec.trim} before its first one; give longer recordings."
            )
        if not found:
            enough = next(n for n in count(lengths[-1]) if len(range(*_span(spec, port, n))))
            raise DataError(
                f"all recordings are too short to compare output {port.name!r}: the longest has {lengths[-1]} frames, and "
                "each output frame looks back to zeros before the recording or ahead to zeros behind it; give recordings "
                f"of {enough} frames or more."
            )
    return sorted({n for found in shown.values() for n in found})


def _stream(model: StreamingModel, batch: Values) -> list[Values]:
    wanted = [port.name for stage in model.spec.stages for port in stage.outputs]
    windows = model.stream(slice_windows(model.spec, batch))
    return [{name: values[name] for name in wanted} for _, values in windows]


@contextmanager
def _stage_outputs(module: nn.Module, model: StreamingModel) -> Iterator[dict[str, Tensor]]:
    """Collect what the stages that are submodules return offline, to tell which of them differs first."""
    found: dict[str, Tensor] = {}
    handles = []
    paths = dict(module.named_modules())
    for stage in model.spec.stages[:-1]:
        if stage.name in paths:
            names = [port.name for port in stage.outputs]

            def keep(_: nn.Module, __: object, result: object, names: list[str] = names) -> None:
                found.update(zip(names, as_tuple(result), strict=True))

            handles.append(paths[stage.name].register_forward_hook(keep))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _compare(model: StreamingModel, streamed: list[Values], offline: Mapping[str, Tensor], frames: int) -> Difference:
    worst = Difference(0.0, "")
    ports = [(stage.name, port) for stage in model.spec.stages for port in stage.outputs]
    for stage, port in ports:
        if port.name not in offline or port.time_axis is None:
            continue
        is_output = port.name in {p.name for p in model.spec.outputs}
        spec = model.spec if is_output else replace(model.spec, outputs=(port,))
        ours = join_windows(spec, streamed, frames)[port.name]
        # Inside the model, frames that belong to padding or to a part of a stride may be counted differently.
        if not is_output and ours.shape != offline[port.name].shape:
            continue
        whole = comparable(spec, port, frames, offline[port.name].shape[port.time_axis])
        found = _difference(ours, offline[port.name], port.time_axis, whole, f"stage {stage!r}, output {port.name!r}")
        if not found.relative <= worst.relative and (is_output or not worst.where):
            worst = found
        if not found.relative <= LIMITS[ours.dtype]:
            return found
    return worst


def _difference(streamed: Tensor, offline: Tensor, axis: int, span: tuple[int, int], name: str) -> Difference:
    if streamed.shape != offline.shape:
        return Difference(float("inf"), f"{name}: streamed shape {list(streamed.shape)}, offline {list(offline.shape)}")
    first, last = span
    length = max(0, last - first)
    gap = (streamed - offline).abs().narrow(axis, first, length).transpose(0, axis).flatten(1)
    scale = max(1.0, float(offline.abs().max())) if offline.numel() else 1.0
    if gap.numel() == 0:
        return Difference(0.0, "")
    relative = float(gap.max()) / scale
    beyond = (~(gap.amax(dim=1) <= LIMITS[offline.dtype] * scale)).nonzero()
    frame = first + (int(beyond[0]) if len(beyond) else int(gap.amax(dim=1).argmax()))
    return Difference(relative, f"{name}, from frame {frame} of {offline.shape[axis]}")


def comparable(spec: StreamSpec, port: Port, frames: int, count: int) -> tuple[int, int]:
    """The offline output frames that a stream must reproduce, of the `count` frames for a recording of `frames` frames.

    A causal model: all, or all of the whole strides where offline lacks the frames that complete the last one. With
    look-ahead, stacked layers see zeros behind the end offline where the stream sees what the layer before makes of zeros,
    so only frames whose receptive field lies inside the recording count.

    Returns:
        The first of them, and one behind the last.
    """
    last = min(count, spec.settled_frames(port, frames))
    if spec.clip is not None and spec.clip.form == "incremental":
        # A clip alone starts from zeros, which the next ones in a recording do not.
        last = min(last, 1)
    return min(port.unlike_first, last), last
