"""Make `datasets/negatives/` and `datasets/noise/` with espeak-ng: an hour in which no keyword of `tiny_kws` is said.

    python datasets/make_tiny_negatives.py [output folder]

Sentences of the training and the validation voices of `tiny_kws`, and noise; a sentence is said once. They lie in Opus, since
an hour without loss would be 60 MB. No sentence holds the sound of a keyword. Needs `espeak-ng` on the path, and the packages of the `recipes` extra.
"""

from __future__ import annotations

import random
import shutil
import sys
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import numpy as np
import soundfile
from make_tiny_kws import ACCENTS, KEYWORDS, SAMPLE_RATE, VARIANTS, Samples, make_noise, speak, write_csv

sys.path.insert(0, str(Path(__file__).parents[1] / "recipes"))
from phrases import make_sentences

SEED = 40
# Minutes of speech and noise in each split. Together the validation split is more than an hour, so that one false accept an
# hour can be told from none.
SPEECH_MINUTES = {"train": 30.0, "val": 52.0}
NOISE_MINUTES = {"train": 2.0, "val": 10.0}
FILE_SECONDS = 120.0
KINDS = ("white", "pink", "brown", "hum", "clicks")


def make_speech(
    split: str, sentences: Iterator[str], chooser: random.Random, rng: np.random.Generator
) -> list[Samples]:
    """Say sentences in all voices of a split in turn, with pauses and at levels of their own, for its minutes."""
    rows, length = list[Samples](), 0
    wanted = SPEECH_MINUTES[split] * 60 * SAMPLE_RATE
    for sentence, variant in zip(sentences, cycle(VARIANTS[split]), strict=False):
        sound = speak(sentence, f"{chooser.choice(ACCENTS)}+{variant}", chooser)
        pause = np.zeros(int(SAMPLE_RATE * rng.uniform(0.1, 0.6)))
        rows += [sound * rng.uniform(0.03, 0.15) / np.abs(sound).max(), pause]
        length += len(sound) + len(pause)
        if length >= wanted:
            break
    return rows


def make_murmur(split: str, rng: np.random.Generator) -> list[Samples]:
    """Noise of all kinds in turn, ten seconds each, at levels of their own, for the minutes of a split."""
    count = round(NOISE_MINUTES[split] * 6)
    size = 10 * SAMPLE_RATE
    return [make_noise(size, KINDS[n % len(KINDS)], rng) * 10 ** rng.uniform(0.5, 2.4) / 2**15 for n in range(count)]


def write_pieces(folder: Path, label: str, recordings: dict[str, list[Samples]]) -> None:
    """Write Opus files of two minutes, and the `index.csv`."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rows = list[tuple[str, ...]]()
    for split, parts in recordings.items():
        whole, size = np.concatenate(parts), round(FILE_SECONDS * SAMPLE_RATE)
        for number, start in enumerate(range(0, len(whole), size)):
            piece, name = whole[start : start + size], f"{split}_{number:02}.opus"
            quiet = piece + 1.5 / 2**15 * np.random.default_rng(number).standard_normal(len(piece))
            soundfile.write(folder / name, quiet, SAMPLE_RATE, format="OGG", subtype="OPUS", compression_level=0.98)
            rows.append((name, label, "", split, f"{len(piece) / SAMPLE_RATE:.4f}"))
    write_csv(folder / "index.csv", ("path", "label", "speaker", "split", "duration_s"), rows)


def main(folder: Path) -> None:
    """Write both sets; what stood there before is replaced."""
    chooser, rng = random.Random(SEED), np.random.default_rng(SEED)
    sentences = iter(make_sentences(4000, SEED, KEYWORDS))
    speech = {split: make_speech(split, sentences, chooser, rng) for split in SPEECH_MINUTES}
    write_pieces(folder / "negatives", "_speech_", speech)
    write_pieces(folder / "noise", "noise", {split: make_murmur(split, rng) for split in NOISE_MINUTES})


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
