"""Audio files as samples of 16 bits, which is what a chip hears: the one reader of package, command line and recipes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from lightning_esp.errors import DataError

Samples = NDArray[np.int16]

# A header may promise any number of samples, so what is there is read piece by piece.
_BLOCK = 1 << 16
# Float files hold -1 to 1, and a little more where an encoder or a filter has overshot; far more is another unit.
_LOUDEST = 8.0


def read_audio(path: str | os.PathLike[str]) -> tuple[Samples, int]:
    """Read a recording as samples of 16 bits; of several channels the first, as the firmware does.

    Integers of other widths are rounded to 16 bits; floating point, which lies in -1 to 1, as well. What is louder than
    full scale saturates.

    Args:
        path: WAV of any width, WAVE_FORMAT_EXTENSIBLE among them, FLAC, Ogg, MP3, AIFF and what else libsndfile reads.

    Returns:
        `[samples]`, and the samples a second.

    Raises:
        DataError: there is no such file, it is of another kind, damaged or empty, or its samples are no numbers from -1
            to 1.
    """
    path = Path(path)
    # A pipe or a device would wait for ever.
    if not path.is_file():
        raise DataError(f"{path} cannot be read ({'not a file' if path.exists() else 'No such file or directory'}).")
    try:
        with soundfile.SoundFile(path) as file:
            blocks, rate = [np.zeros(0), *_read_blocks(file)], int(file.samplerate)
    except (OSError, RuntimeError, MemoryError) as error:
        raise DataError(f"{path} cannot be read as audio ({_reason(error)}). {convert_hint(path)}") from None
    values = np.concatenate(blocks)
    if not len(values):
        raise DataError(f"{path} holds no samples; leave it out.")
    return _to_int16(path, values), rate


def _read_blocks(file: soundfile.SoundFile) -> Iterator[NDArray[np.float64]]:
    while len(block := file.read(_BLOCK, dtype="float64", always_2d=True)):
        yield block[:, 0]


def _to_int16(path: Path, values: NDArray[np.float64]) -> Samples:
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        raise DataError(f"{path}: sample {wrong[0]} is {values[wrong[0]]}; {len(wrong)} samples are no numbers.")
    loudest = float(np.abs(values).max())
    if loudest > _LOUDEST:
        raise DataError(
            f"{path} holds floating point up to {loudest:g}; float files lie in -1 to 1. Divide the samples by their full "
            "scale (32768 for 16 bits) before they are written."
        )
    return np.clip(np.round(values * 2**15), -(2**15), 2**15 - 1).astype(np.int16)


def _reason(error: Exception) -> str:
    text = str(error).strip().removesuffix(".")
    return text.rpartition(": ")[2] or type(error).__name__


def convert_hint(path: Path, sample_rate: int = 16000) -> str:
    """Return the command that makes a WAV file of one channel and 16 bits."""
    return f"Convert it: `ffmpeg -i {path.name} -ac 1 -ar {sample_rate} -c:a pcm_s16le converted.wav`."
