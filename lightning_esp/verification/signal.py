"""Proof 6: the integer stream against the float network itself, on the user's recordings.

The other proofs show that files, graph and streaming form are one model; this one, that its integers still say what the
float network says.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from lightning_esp.conversion import (
    Port,
    Recordings,
    StreamingModel,
    copy_module,
    cut_recordings,
    pad_recordings,
    run,
    single_thread,
)
from lightning_esp.quantization import Array, QuantizedModel
from lightning_esp.simulation import join_stack
from lightning_esp.verification.outliers import Outlier, find_outliers, find_scarcity, unreached
from lightning_esp.verification.parity import comparable
from lightning_esp.verification.proof import Proof

# Decibels below which the proof fails, and below which it is amber. Of 14 usual architectures with random weights, int8
# gave 13 dB or more and int16 29 dB or more: what is far below has a cause. At 6 dB noise has half of the signal's
# amplitude.
FLOORS = {"int8": (6.0, 12.0), "int16": (15.0, 25.0)}
# The variation of an output that is constant but for rounding, as a share of its power.
CONSTANT = 1e-10


@dataclass(frozen=True)
class Offline:
    """Outputs of the float network on whole recordings.

    Args:
        outputs: of each recording by output name, in torch's layout with a batch of 1.
        lengths: frames of each recording.
        outliers: values of the recordings far beyond the rest.
        notes: what is said of recordings that hold hardly anything.
        min_snr_db: the least signal-to-noise ratio; None: by the precision.
    """

    outputs: tuple[Mapping[str, Tensor], ...] = field(repr=False)
    lengths: tuple[int, ...]
    outliers: tuple[Outlier, ...] = ()
    notes: tuple[str, ...] = ()
    min_snr_db: float | None = None


@single_thread()
@torch.inference_mode()
def run_offline(
    module: nn.Module, model: StreamingModel, recordings: Recordings, used: int, min_snr_db: float | None = None
) -> Offline:
    """Run the float network over whole recordings.

    Args:
        module: the offline module; left as it is.
        model: its streaming form.
        recordings: without batch dimension; outliers are looked for in all of them.
        used: how many of the first ones are run.
        min_snr_db: see `Offline`.
    """
    module = copy_module(module).float().eval()
    batch, lengths = pad_recordings(model.spec, recordings[:used])
    names = [port.name for port in model.spec.outputs]
    outputs: list[Mapping[str, Tensor]] = [{} for _ in lengths]
    for frames in sorted(set(lengths)):
        rows = [row for row, length in enumerate(lengths) if length == frames]
        if all(model.spec.output_frames(port, frames) <= 0 for port in model.spec.outputs):
            continue
        found = run(module, cut_recordings(model.spec, batch, rows, frames))
        for index, row in enumerate(rows):
            outputs[row] = {name: value[index : index + 1].clone() for name, value in zip(names, found, strict=True)}
    outliers, scarce = find_outliers(model.spec, recordings), find_scarcity(model.spec, recordings)
    return Offline(tuple(outputs), tuple(lengths), outliers, scarce, min_snr_db)


@dataclass(frozen=True)
class _Frames:
    """Comparable frames of one output, of all recordings in a row.

    Args:
        true: what the float network puts out, `[frames, values]`, float64.
        found: the integers, dequantized.
        recording: which recording a frame belongs to, `[frames]`.
        clean: whether no outlier reaches it, `[frames]`.
    """

    true: Array
    found: Array
    recording: Array
    clean: Array

    def noise(self, chosen: Array) -> float:
        """The power of the noise as a share of that of the signal, on some frames."""
        return _share(self.true[chosen] - self.found[chosen], self.true[chosen])


def follow_float(
    quantized: QuantizedModel, offline: Offline, results: Sequence[Mapping[str, Array]]
) -> tuple[Proof, ...]:
    """Prove for each output that the noise of the integers is small beside the signal.

    Args:
        quantized: the files.
        offline: what the float network makes of the recordings.
        results: what the files make of their windows, all recordings in one batch.

    Returns:
        A proof for each output. It is amber where the noise is larger than usual, where the integers do not follow what
        the output changes by, where half of the recordings are worse than the floor, where the float output says nothing
        (it is constant), and where a recording holds outliers.
    """
    stack = {port.name: np.stack([window[port.name] for window in results], axis=1) for port in quantized.spec.outputs}
    return tuple(
        _prove(quantized, port, offline, _collect(quantized, port, offline, stack)) for port in quantized.spec.outputs
    )


def _collect(quantized: QuantizedModel, port: Port, offline: Offline, stack: Mapping[str, Array]) -> _Frames:
    spec, axis, parts = quantized.spec, port.time_axis or 0, list[tuple[Array, Array, Array, Array]]()
    for row, (outputs, frames) in enumerate(zip(offline.outputs, offline.lengths, strict=True)):
        # A layer without padding may need more frames than a short recording has.
        if port.name not in outputs:
            continue
        joined = join_stack(quantized, {name: value[row : row + 1] for name, value in stack.items()}, frames)
        first, last = comparable(spec, port, frames, outputs[port.name].shape[axis])
        span = (first, max(first, last))
        true, found = (_rows(values[port.name], axis, span) for values in (outputs, joined))
        parts.append((true, found, np.full(len(true), row), unreached(spec, port, offline.outliers, row, span)))
    return _Frames(*[np.concatenate(columns) for columns in zip(*parts, strict=True)])


def _rows(values: Tensor, axis: int, span: tuple[int, int]) -> Array:
    """The frames of a span, `[frames, values]`."""
    frames = values.narrow(axis, span[0], span[1] - span[0]).movedim(axis, 0)
    return np.asarray(frames.flatten(1).double().numpy())


def _share(noise: Array, signal: Array) -> float:
    power = float(np.square(signal).sum())
    return float(np.square(noise).sum()) / power if power > 0 else 0.0


def _decibels(share: float) -> float:
    return math.inf if share == 0 else -10 * math.log10(share)


def _prove(quantized: QuantizedModel, port: Port, offline: Offline, frames: _Frames) -> Proof:
    least, usual = FLOORS[quantized.precision]
    floor = least if offline.min_snr_db is None else offline.min_snr_db
    usual = max(floor, usual)
    whole = np.ones(len(frames.true), bool)
    # An outlier outweighs all other frames; where it is clipped, these alone can be judged.
    shares = [frames.noise(chosen) for chosen in (whole, frames.clean) if chosen.any()] or [0.0]
    share, limit = min(shares), 10 ** (-floor / 10)
    recordings = len(np.unique(frames.recording))
    passed = bool(share <= limit)
    doubts = [*_say_outliers(offline, shares), *_say_doubts(frames, share, limit, usual)] if passed else []
    return Proof(
        f"output {port.name!r} follows the float network",
        share,
        limit,
        passed,
        f"{_decibels(share):.1f} dB of signal to noise on {recordings} recordings, and {floor:g} dB are asked for",
        _advise(quantized, offline),
        "; ".join(doubts),
    )


def _say_doubts(frames: _Frames, share: float, limit: float, usual: float) -> list[str]:
    doubts = []
    power = float(np.square(frames.true).sum())
    varying = frames.true - frames.true.mean(axis=0, keepdims=True) if len(frames.true) else frames.true
    if float(np.square(varying).sum()) <= CONSTANT * power:
        return [
            "the float network puts out a constant: a dead model, or no signal in the recordings; nothing was compared"
        ]
    if _decibels(share) < usual:
        doubts.append(
            f"{_decibels(share):.1f} dB of signal to noise, less than the usual {usual:g} dB; where recordings are few or full of "
            "peaks, Quantization(method='minmax') clips none"
        )
    if 2 * _share(frames.true - frames.found, varying) > 1:
        doubts.append(
            "the output hardly changes beside its mean, and the integers do not follow what it changes by "
            f"({_decibels(_share(frames.true - frames.found, varying)):.1f} dB)"
        )
    alone = [frames.noise(frames.recording == row) for row in np.unique(frames.recording)]
    worse = [row for row, noise in zip(np.unique(frames.recording), alone, strict=True) if noise > limit]
    if 2 * len(worse) >= len(alone):
        doubts.append(
            f"{len(worse)} of {len(alone)} recordings, recording {worse[0]} first, are below the floor by themselves"
        )
    return doubts


def _say_outliers(offline: Offline, shares: Sequence[float]) -> list[str]:
    if not offline.outliers:
        return []
    figures = " and ".join(f"{_decibels(share):.1f} dB" for share in shares)
    frames = f" ({figures}, with and without the frames that it reaches)" if len(shares) > 1 else ""
    return [f"{_describe(offline)}{frames}"]


def _describe(offline: Offline) -> str:
    first, others = offline.outliers[0], len(offline.outliers) - 1
    more = f", and {others} more such frames" if others else ""
    return (
        f"{first}{more}: mend or remove it, or calibrate with Quantization(method='percentile'), which leaves outliers out; "
        "where such peaks are the signal, with method='minmax', which clips none"
    )


def _advise(quantized: QuantizedModel, offline: Offline) -> str:
    outliers = f"The recordings hold outliers: {_describe(offline)}. " if offline.outliers else ""
    wider = "Quantization(precision='int16') or 'auto', " if quantized.precision == "int8" else ""
    return (
        f"{outliers}Try {wider}another Quantization(method=...), 'minmax' where the recordings are few or full of peaks, since it clips none; or calibrate with more recordings; look at the noise of the "
        "layers with `lightning_esp.precision.analyze`; or allow more noise, Quantization(min_snr_db=...)."
    )
