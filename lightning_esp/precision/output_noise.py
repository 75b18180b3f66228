"""The noise at the outputs alone: the cheap figure by which quantized forms of one model are compared."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from lightning_esp.conversion import Recordings, StreamingModel
from lightning_esp.precision.measured_windows import first_windows, take_recordings
from lightning_esp.quantization import Array, QuantizedModel, Worker

# Decibels of a few tenths decide between two calibration methods, so more is run than `analyze` takes.
MAX_RECORDINGS, MAX_WINDOWS = 8, 64


@dataclass(frozen=True)
class Reference:
    """Windows of recordings, and what the float model puts out for them.

    Args:
        windows: inputs of each window, one row per recording; the first holds the initial caches too.
        outputs: all values of each output by name.
        feedback: for each cache the name of its new value.
    """

    windows: list[dict[str, Array]] = field(repr=False)
    outputs: dict[str, Array] = field(repr=False)
    feedback: dict[str, str]


def prepare_reference(
    model: StreamingModel,
    recordings: Recordings,
    *,
    max_recordings: int = MAX_RECORDINGS,
    max_windows: int = MAX_WINDOWS,
) -> Reference:
    """Stream recordings through the float model.

    Args:
        model: the float model.
        recordings: whole recordings without batch dimension, of which some are taken, evenly spread.
        max_recordings: recordings to take.
        max_windows: windows of each, from its start on.

    Raises:
        DataError: the recordings do not fit the model.
    """
    windows = first_windows(model, take_recordings(model, recordings, max_recordings), max_windows)
    feedback = model.spec.feedback
    inputs = [{name: torch.from_numpy(value) for name, value in window.items()} for window in windows]
    caches = {name: inputs[0].pop(name) for name in feedback}
    names = [port.name for port in model.spec.outputs]
    with torch.no_grad():
        found = [{name: values[name].numpy() for name in names} for _, values in model.stream(inputs, caches)]
    return Reference(windows, _join(found), feedback)


def measure_outputs(quantized: QuantizedModel, reference: Reference, worker: Worker) -> dict[str, float]:
    """Stream the same windows through a quantized model.

    Args:
        quantized: what `quantize` made of the model.
        reference: from `prepare_reference`.
        worker: a running esp-ppq process.

    Returns:
        For each output the power of the noise as a share of that of the signal.
    """
    names = list(reference.outputs)
    found = _join(worker.call("run", quantized.graph, names, reference.windows, reference.feedback))
    return {name: _share(found[name] - value, value) for name, value in reference.outputs.items()}


def decibels(noise: float | None) -> float | None:
    """The signal-to-noise ratio of a share of noise; None where there is no noise, or no figure.

    Example:
        >>> decibels(0.01)
        20.0
    """
    return None if not noise else round(-10 * math.log10(noise), 2)


def _join(parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    return {name: np.concatenate([part[name].ravel() for part in parts]).astype(np.float64) for name in parts[0]}


def _share(noise: Array, signal: Array) -> float:
    return float(np.square(noise).sum() / max(np.square(signal).sum(), 1e-30))
