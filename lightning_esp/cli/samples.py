"""Samples from a file or a microphone."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_esp.errors import DataError

Samples = NDArray[np.int16]


def read_recording(path: Path, sample_rate: int) -> Samples:
    """Return the samples of a recording; of several channels the first, as the firmware does.

    Args:
        path: a WAV file of 16-bit PCM; or FLAC, Ogg and whatever else `soundfile` reads, where that package is installed.
        sample_rate: what it must have.

    Raises:
        DataError: there is no such file, it is of another kind, or has another rate.
    """
    if path.suffix.lower() != ".wav" and path.exists():
        return _read_other(path, sample_rate)
    try:
        with wave.open(str(path), "rb") as file:
            channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            data = file.readframes(file.getnframes())
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}).") from None
    except (wave.Error, EOFError) as error:
        raise DataError(f"{path} is not a WAV file of PCM samples ({error}). {_advice(path, sample_rate)}") from None
    if width != 2 or rate != sample_rate:
        raise DataError(
            f"{path} has {8 * width} bits and {rate} samples a second; the model hears 16 bits and {sample_rate}. "
            f"{_advice(path, sample_rate)}"
        )
    whole = len(data) // (2 * channels) * 2 * channels
    return np.frombuffer(data[:whole], "<i2")[::channels].astype(np.int16)


def _read_other(path: Path, sample_rate: int) -> Samples:
    try:
        import soundfile

        samples, rate = soundfile.read(path, dtype="int16", always_2d=True)
    except (ImportError, RuntimeError) as error:
        raise DataError(f"{path} cannot be read ({error}). {_advice(path, sample_rate)}") from None
    if rate != sample_rate:
        raise DataError(
            f"{path} has {rate} samples a second; the model hears {sample_rate}. {_advice(path, sample_rate)}"
        )
    return np.asarray(samples[:, 0], np.int16)


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


def _advice(path: Path, sample_rate: int) -> str:
    return f"Convert it: `ffmpeg -i {path.name} -ac 1 -ar {sample_rate} -c:a pcm_s16le converted.wav`."
