"""Audio files as samples of 16 bits, which is what a chip gets: the one reader of package, command line and recipes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from lightning_esp.errors import DataError
from lightning_esp.options import check_arguments

Samples = NDArray[np.int16]

# A header may promise any number of samples, so what is there is read piece by piece.
_BLOCK = 1 << 16
# Float files hold -1 to 1, and a little more where an encoder or a filter has overshot; far more is another unit.
_LOUDEST = 8.0


class AudioFile:
    """A recording that is read piece by piece, as samples of 16 bits; of several channels the first, as the firmware does.

    Integers of other widths are rounded to 16 bits; floating point, which lies in -1 to 1, as well. What is louder than
    full scale saturates.

    Args:
        path: WAV of any width, WAVE_FORMAT_EXTENSIBLE among them, FLAC, Ogg, MP3, AIFF and what else libsndfile reads.

    Attributes:
        sample_rate: samples a second.
        frames: samples that the header promises, of which fewer may be there.

    Raises:
        DataError: there is no such file, or it is of another kind.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        check_arguments(AudioFile.__init__, path=path)
        self.path = Path(path)
        # A pipe or a device would wait for ever.
        if not self.path.is_file():
            reason = "not a file" if self.path.exists() else "No such file or directory"
            raise DataError(f"{self.path} cannot be read ({reason}).")
        with self._telling() as file:
            self.sample_rate, self.frames = int(file.samplerate), int(file.frames)

    def blocks(self) -> Iterator[Samples]:
        """Yield the samples in pieces, `[samples]` each, none of them empty.

        Raises:
            DataError: the file is damaged or empty, or its samples are no numbers from -1 to 1.
        """
        count = 0
        with self._telling() as file:
            while len(block := file.read(_BLOCK, dtype="float64", always_2d=True)):
                yield _to_int16(self.path, block[:, 0], count)
                count += len(block)
        if not count:
            raise DataError(f"{self.path} holds no samples; leave it out.")

    @contextmanager
    def _telling(self) -> Iterator[soundfile.SoundFile]:
        try:
            with soundfile.SoundFile(self.path) as file:
                yield file
        except (OSError, RuntimeError, MemoryError) as error:
            raise DataError(
                f"{self.path} cannot be read as audio ({_reason(error)}). {convert_hint(self.path)}"
            ) from None


def read_audio(path: str | os.PathLike[str]) -> tuple[Samples, int]:
    """Read a recording as samples of 16 bits, as `AudioFile` does, at once.

    Args:
        path: the file.

    Returns:
        `[samples]`, and the samples a second.

    Raises:
        DataError: there is no such file, it is of another kind, damaged or empty, or its samples are no numbers from -1
            to 1.
    """
    file = AudioFile(path)
    return np.concatenate([*file.blocks()]), file.sample_rate


def _to_int16(path: Path, values: NDArray[np.float64], start: int) -> Samples:
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        raise DataError(
            f"{path}: sample {start + wrong[0]} is {values[wrong[0]]}; samples are numbers from -1 to 1. Record it again, "
            "or cut such samples out."
        )
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
