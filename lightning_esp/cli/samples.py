"""Samples from a file or a microphone, piece by piece."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lightning_esp.errors import DataError
from lightning_esp.frontend import AudioFile, Samples, convert_hint

# Of a microphone, so that events are told soon.
_BLOCK_SECONDS = 0.25


@dataclass(frozen=True)
class Source:
    """Source of samples.

    Args:
        samples: how many are expected.
        blocks: the samples in pieces, int16.
    """

    samples: int
    blocks: Iterator[Samples]


def open_recording(path: Path, sample_rate: int) -> Source:
    """Return the samples of a recording; of several channels the first, as the firmware does.

    Args:
        path: what `AudioFile` reads.
        sample_rate: what it must have.

    Raises:
        DataError: it cannot be read, or has another rate.
    """
    file = AudioFile(path)
    if file.sample_rate != sample_rate:
        raise DataError(
            f"{path} has {file.sample_rate} samples a second; the model takes {sample_rate}. {convert_hint(path, sample_rate)}"
        )
    return Source(file.frames, file.blocks())


def read_recording(path: Path, sample_rate: int) -> Samples:
    """Return all samples of a recording, `[samples]`, int16; takes and raises what `open_recording` does."""
    return np.concatenate([np.zeros(0, np.int16), *open_recording(path, sample_rate).blocks])


def record_microphone(seconds: float, sample_rate: int) -> Source:
    """Record from the default microphone of this machine.

    Args:
        seconds: how long.
        sample_rate: samples per second.

    Raises:
        DataError: there is no microphone, or `sounddevice` is not installed.
    """
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise DataError(
            f"--microphone needs the package sounddevice and its PortAudio library ({error}); "
            "`pip install 'lightning-esp[microphone]'`, or give a recording."
        ) from None
    total = max(1, round(seconds * sample_rate))
    return Source(total, _record(sounddevice, total, sample_rate))


def _record(sounddevice: Any, total: int, sample_rate: int) -> Iterator[Samples]:
    size, missing = round(_BLOCK_SECONDS * sample_rate), total
    try:
        with sounddevice.InputStream(samplerate=sample_rate, channels=1, dtype="int16") as stream:
            while missing:
                samples, lost = stream.read(min(size, missing))
                if lost:
                    print(
                        "lightning-esp: samples of the microphone were lost; this machine was too slow.",
                        file=sys.stderr,
                    )
                missing -= len(samples)
                # The buffer may be the driver's own.
                yield np.array(samples[:, 0], np.int16)
    except sounddevice.PortAudioError as error:
        raise DataError(f"--microphone: this machine gives no samples ({error}); give a recording.") from None
