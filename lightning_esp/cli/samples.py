"""Samples from a file or a microphone."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lightning_esp.errors import DataError
from lightning_esp.frontend.files import Samples, convert_hint, read_audio


def read_recording(path: Path, sample_rate: int) -> Samples:
    """Return the samples of a recording; of several channels the first, as the firmware does.

    Args:
        path: what `read_audio` reads.
        sample_rate: what it must have.

    Raises:
        DataError: it cannot be read, or has another rate.
    """
    samples, rate = read_audio(path)
    if rate != sample_rate:
        raise DataError(
            f"{path} has {rate} samples a second; the model hears {sample_rate}. {convert_hint(path, sample_rate)}"
        )
    return samples


def record_microphone(seconds: float, sample_rate: int) -> Samples:
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
    try:
        samples = sounddevice.rec(round(seconds * sample_rate), sample_rate, channels=1, dtype="int16", blocking=True)
    except sounddevice.PortAudioError as error:
        raise DataError(f"--microphone: this machine gives no samples ({error}).") from None
    return np.asarray(samples[:, 0], np.int16)
