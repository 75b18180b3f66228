"""Waveforms in numpy, float32 in -1 to 1: where one is audible, another rate, another length of vocal tract."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

Waveform = NDArray[np.float32]

_FRAME_SECONDS = 0.01
_RATE = 16_000


def resample(samples: Waveform, rate: float, wanted: float) -> Waveform:
    """Change the rate of samples [samples] by any ratio, without aliases.

    All frequencies above half of the lower rate are cut off sharply in the spectrum of the whole waveform, which zeros at
    its ends keep from running over into each other.
    """
    if rate == wanted:
        return samples
    margin = round(0.02 * rate)
    count = len(samples) + 2 * margin
    length = round(count * wanted / rate)
    spectrum = np.fft.rfft(np.pad(samples, margin))
    kept = np.zeros(length // 2 + 1, spectrum.dtype)
    common = min(len(kept), len(spectrum))
    kept[:common] = spectrum[:common]
    changed = np.fft.irfft(kept, length) * (length / count)
    first = round(margin * wanted / rate)
    return changed[first : first + round(len(samples) * wanted / rate)].astype(np.float32)


def find_audible(samples: Waveform, rate: int, decibels: float = 40.0, margin: float = 0.02) -> tuple[int, int]:
    """Find where a waveform [samples] is audible: from the first to the last 10 ms that count, as (start, stop) in samples.

    What counts is no more than `decibels` below the loudest 10 ms, and 6 dB above the quietest tenth, so that the hiss of a
    recording does not; `margin` seconds stay on both sides. Nothing is audible in zeros: (0, 0).
    """
    size = round(_FRAME_SECONDS * rate)
    count = -(-len(samples) // size)
    frames = np.pad(samples.astype(np.float64), (0, count * size - len(samples))).reshape(count, size)
    level = np.sqrt(np.square(frames).mean(1))
    if not level.any():
        return 0, 0
    least = max(level.max() * 10 ** (-decibels / 20), min(2 * np.quantile(level, 0.1), level.max() / 4))
    loud = np.flatnonzero(level >= least)
    kept = round(margin * rate)
    return max(0, int(loud[0]) * size - kept), min(len(samples), int(loud[-1] + 1) * size + kept)


def trim(samples: Waveform, rate: int, decibels: float = 40.0, margin: float = 0.02) -> Waveform:
    """Cut off both ends of a waveform [samples] as far as `find_audible` hears nothing there."""
    start, stop = find_audible(samples, rate, decibels, margin)
    return samples[start:stop]


def write_wav(path: Path, samples: Waveform) -> None:
    """Write samples in -1 to 1 as 16-bit WAV of 16 kHz; `path` never holds half of it."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".tmp", delete=False) as file:
        try:
            soundfile.write(file, samples, _RATE, "PCM_16", format="WAV")
        except BaseException:
            os.unlink(file.name)
            raise
    os.replace(file.name, path)
