"""Values in recordings that lie far beyond all others: one of them can take all of a tensor's integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from lightning_esp.conversion import Port, Recordings, StreamSpec, check_recordings
from lightning_esp.quantization import Array

# So many times the largest value of the other frames.
BEYOND = 50.0
# The share of frames that may be outliers; more of them are a loud part.
RARE = 0.005
# Windows in all by which no range can be trusted.
FEW = 8


@dataclass(frozen=True)
class Outlier:
    """A frame with a value far beyond those of other frames.

    Args:
        recording: index of the recording.
        frame: position in it.
        input: name of the model input.
        value: its largest magnitude.
        usual: the largest magnitude of frames that are no outliers.
    """

    recording: int
    frame: int
    input: str
    value: float
    usual: float

    def __str__(self) -> str:
        return (
            f"recording {self.recording} holds {self.value:.4g} at frame {self.frame} of input {self.input!r}, where others "
            f"reach {self.usual:.4g}"
        )


def find_outliers(spec: StreamSpec, recordings: Recordings) -> tuple[Outlier, ...]:
    """Find frames of recordings with a value more than 50 times that of any frame but the loudest 0.5 %.

    Args:
        spec: the outside of the model.
        recordings: without batch dimension.

    Returns:
        The outliers, the largest first.
    """
    found: list[Outlier] = []
    checked = check_recordings(spec, recordings)
    for port in spec.stream_inputs:
        axis = port.time_axis or 0
        peaks = [values[port.name].abs().movedim(axis, 0).flatten(1).amax(dim=1).numpy() for values, _ in checked]
        usual = _usual(np.concatenate(peaks))
        for index, frames in enumerate(peaks):
            beyond = np.flatnonzero((frames > BEYOND * usual) & (usual > 0))
            found += [Outlier(index, int(frame), port.name, float(frames[frame]), usual) for frame in beyond]
    return tuple(sorted(found, key=lambda outlier: -outlier.value / outlier.usual))


def _usual(peaks: Array) -> float:
    rare = max(1, int(RARE * len(peaks)))
    return float(np.sort(peaks)[-1 - rare]) if len(peaks) > rare else 0.0


def find_scarcity(spec: StreamSpec, recordings: Recordings) -> tuple[str, ...]:
    """Say which recordings hold hardly anything to choose ranges by.

    Args:
        spec: the outside of the model.
        recordings: without batch dimension.
    """
    lengths = [frames for _, frames in check_recordings(spec, recordings)]
    single = [index for index, frames in enumerate(lengths) if frames == 1]
    windows = sum(spec.windows(frames) for frames in lengths)
    found = []
    if single:
        found.append(f"{len(single)} of {len(lengths)} recordings, recording {single[0]} first, hold frame 0 alone")
    if windows < FEW:
        found.append(
            f"the recordings make {windows} windows in all, which decide every range: give more of them, or calibrate with "
            "Quantization(method='percentile')"
        )
    return tuple(found)


def unreached(
    spec: StreamSpec, port: Port, outliers: Sequence[Outlier], recording: int, span: tuple[int, int]
) -> Array:
    """Tell which frames of an output no outlier reaches.

    Args:
        spec: the outside of the model.
        port: the output.
        outliers: from `find_outliers`.
        recording: index of the recording.
        span: the first output frame that is asked for, and the one behind the last.

    Returns:
        `[frames]`, True for each frame that lies before an outlier, or behind it by more than the receptive field (where
        that ends).
    """
    frames = np.arange(*span)
    clean = np.ones(len(frames), bool)
    # Counted in steps of the model, of which an output may make more or less than one frame each; a step more at either
    # end costs nothing.
    pace = port.frames / (spec.window // spec.stride)
    for outlier in outliers:
        if outlier.recording == recording:
            step = outlier.frame // spec.stride
            before = frames < (step - spec.delay - spec.trim - 1) * pace
            behind = np.zeros(len(frames), bool)
            if spec.receptive_field is not None:
                behind = frames > (step + ceil(spec.receptive_field / spec.stride) + spec.delay + 1) * pace
            clean &= before | behind
    return clean
