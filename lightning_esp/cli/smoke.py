"""Made-up recordings, so that a new project runs before anything was recorded; the same ones each time."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_WHY = "Everything runs with them before you have recorded anything; a model of them is of no use."
_RATE = 16_000
_SPLITS = ("train",) * 8 + ("val", "test")

# Two syllables each, in hertz.
_WORDS = {"yes": (500, 1400), "no": (900, 350), "_unknown_": None, "_silence_": ()}
# Swings a second, and how far.
_MOTIONS = {"rest": (0.0, 0.0), "walk": (1.8, 3.0), "shake": (6.0, 9.0)}


def write_smoke(directory: Path, kind: str) -> str:
    """Write recordings and their `index.csv`.

    Args:
        directory: the data folder of a project.
        kind: `"kws"` or `"sensor"`.

    Returns:
        What was written, in words.
    """
    random = np.random.default_rng(7)
    if kind == "sensor":
        _write_index(directory, _write_motions(directory, random))
        return f"Now there are made-up motions of three axes: {', '.join(_MOTIONS)}. {_WHY}"
    words = directory / "words"
    _write_index(words, _write_words(words, random))
    return f"Now there are made-up clips of whistles: {', '.join(_WORDS)}. {_WHY}"


def _write_index(directory: Path, rows: Iterator[str]) -> None:
    (directory).mkdir(exist_ok=True)
    (directory / "index.csv").write_text("path,label,speaker,split\n" + "".join(rows), encoding="utf-8")


def _write_words(directory: Path, random: np.random.Generator) -> Iterator[str]:
    for label, tones in _WORDS.items():
        (directory / label).mkdir(parents=True)
        for number in range(40):
            chosen = tuple(random.uniform(250, 2500, 2)) if tones is None else tones
            path = f"{label}/{number:02d}.wav"
            _write_wav(directory / path, _whistle(chosen, random))
            yield f"{path},{label},speaker_{number % 10},{_SPLITS[number % 10]}\n"


def _whistle(tones: tuple[float, ...], random: np.random.Generator) -> NDArray[np.int16]:
    """A second with a syllable for each tone, as high as this speaker is, over the noise of a room."""
    samples = random.normal(0, 10 ** random.uniform(1, 2.3), _RATE)
    pitch, start = random.uniform(0.93, 1.07), int(random.uniform(0.1, 0.25) * _RATE)
    for tone in tones:
        length = int(random.uniform(0.2, 0.3) * _RATE)
        phase = 2 * np.pi * np.cumsum(np.linspace(0.95, 1.05, length)) * tone * pitch / _RATE
        samples[start : start + length] += 6000 * random.uniform(0.4, 1.5) * np.hanning(length) * np.sin(phase)
        start += length
    return np.clip(samples, -(2**15), 2**15 - 1).astype(np.int16)


def _write_wav(path: Path, samples: NDArray[np.int16]) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(_RATE)
        file.writeframes(samples.astype("<i2").tobytes())


def _write_motions(directory: Path, random: np.random.Generator) -> Iterator[str]:
    """Fifteen seconds of 50 samples each, in metres per second squared."""
    time = np.arange(750) / 50
    for label, (swings, reach) in _MOTIONS.items():
        (directory / label).mkdir()
        for number in range(10):
            way = random.normal(0, 1, 3)
            swing = reach * random.uniform(0.7, 1.3) * np.sin(2 * np.pi * swings * random.uniform(0.9, 1.1) * time)
            values = random.normal(0, 0.15, (len(time), 3)) + swing[:, None] * way / np.linalg.norm(way)
            values[:, 2] += 9.81
            path = f"{label}/{number}.csv"
            np.savetxt(directory / path, values, "%.3f", ",", header="x,y,z", comments="")
            yield f"{path},{label},wearer_{number},{_SPLITS[number]}\n"
