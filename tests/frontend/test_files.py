"""Audio files of every kind as samples of 16 bits; what is none is refused by name."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lightning_esp.errors import DataError
from lightning_esp.frontend import read_audio

WAVE = (9000 * np.sin(np.arange(1600) / 5)).astype(np.int16)

FORMS = {
    "pcm": ("wav", "WAV", "PCM_16", 0),
    "extensible": ("wav", "WAVEX", "PCM_16", 0),
    "24 bits": ("wav", "WAV", "PCM_24", 0),
    "32 bits": ("wav", "WAV", "PCM_32", 0),
    "8 bits": ("wav", "WAV", "PCM_U8", 256),
    "float": ("wav", "WAV", "FLOAT", 0),
    "double": ("wav", "WAV", "DOUBLE", 0),
    "flac": ("flac", "FLAC", "PCM_16", 0),
    "flac 24": ("flac", "FLAC", "PCM_24", 0),
    "aiff": ("aiff", "AIFF", "PCM_16", 0),
    "ogg": ("ogg", "OGG", "VORBIS", 1500),
    "mu-law": ("wav", "WAV", "ULAW", 600),
    "caf with the wrong name": ("wav", "CAF", "PCM_16", 0),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("channels", [1, 2])
def test_every_form_gives_the_samples(tmp_path: Path, form: str, channels: int) -> None:
    suffix, container, subtype, off = FORMS[form]
    values = np.stack([WAVE, np.zeros_like(WAVE)][:channels], axis=1) / 2**15
    soundfile.write(tmp_path / f"a.{suffix}", values, 16_000, format=container, subtype=subtype)
    samples, rate = read_audio(tmp_path / f"a.{suffix}")
    assert (samples.dtype, rate) == (np.int16, 16_000)
    assert len(samples) == len(WAVE)
    assert np.abs(samples.astype(int) - WAVE).max() <= off


def test_more_than_full_scale_saturates(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([1.0, 1.5, -1.5, -1.0]), 16_000, subtype="FLOAT")
    assert read_audio(tmp_path / "a.wav")[0].tolist() == [32767, 32767, -32768, -32768]


def test_a_longer_recording_than_a_block_is_whole(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(-30000, 30000, 200_001).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", values, 16_000)
    assert (read_audio(tmp_path / "a.wav")[0] == values).all()


def write_float(path: Path, values: list[float]) -> Path:
    soundfile.write(path, np.array(values), 16_000, subtype="FLOAT")
    return path


def refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_audio(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_what_is_no_audio_is_named(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "no.wav")
    assert "not a file" in refused(tmp_path)
    for name, data in (("text.wav", b"not audio"), ("empty.wav", b""), ("a.m4a", b"\0\0\0\x20ftypM4A ")):
        (tmp_path / name).write_bytes(data)
        assert "ffmpeg -i" in refused(tmp_path / name)
    soundfile.write(tmp_path / "none.wav", np.zeros(0, np.int16), 16_000)
    assert "holds no samples" in refused(tmp_path / "none.wav")
    assert "sample 1 is nan; samples are numbers" in refused(write_float(tmp_path / "nan.wav", [0.0, float("nan")]))
    assert "floating point up to 20000" in refused(write_float(tmp_path / "loud.wav", [0.0, -20000.0]))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    assert "not a file" in refused(tmp_path / "pipe.wav")


@pytest.mark.parametrize("kind", ["WAV", "FLAC"])
def test_damaged_files_give_samples_or_our_own_error(tmp_path: Path, kind: str) -> None:
    """Bytes changed at random places, headers that lie about lengths among them."""
    path, random = tmp_path / f"a.{kind.lower()}", np.random.default_rng(0)
    soundfile.write(path, WAVE, 16_000, format=kind, subtype="PCM_16")
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    refusals = 0
    for _ in range(300):
        data = whole[: random.choice([len(whole), random.integers(1, len(whole))])].copy()
        places = random.integers(0, min(len(data), 80), random.integers(0, 4))
        data[places] = random.integers(0, 256, len(places))
        path.write_bytes(data.tobytes())
        try:
            samples, rate = read_audio(path)
            assert samples.dtype == np.int16
            assert rate > 0
        except DataError:
            refusals += 1
    assert 20 < refusals < 300
