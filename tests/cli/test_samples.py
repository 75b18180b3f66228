"""Samples of a recording, at once and in pieces."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from lightning_esp.cli.samples import open_recording, read_recording
from lightning_esp.errors import DataError


@pytest.mark.parametrize("kind", ["WAV", "WAVEX", "FLAC"])
def test_all_at_once_are_the_pieces_in_a_row(kind: str, tmp_path: Path) -> None:
    path, samples = tmp_path / "a.wav", (9000 * np.sin(np.arange(40_000) / 5)).astype(np.int16)
    soundfile.write(path, samples, 16_000, format=kind, subtype="PCM_16")
    np.testing.assert_array_equal(read_recording(path, 16_000), samples)
    pieces = list(open_recording(path, 16_000).blocks)
    np.testing.assert_array_equal(np.concatenate(pieces), samples)


def test_another_rate_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(100, np.int16), 8000)
    with pytest.raises(DataError, match="8000 samples a second; the model takes 16000"):
        read_recording(tmp_path / "a.wav", 16_000)
