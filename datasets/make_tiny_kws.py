"""Make `datasets/tiny_kws/` with espeak-ng: spoken keywords, other words, noise, and one two-minute stream.

    python datasets/make_tiny_kws.py [output folder]

The clips depend on the seed and on the version of espeak-ng alone (1.51 made the committed ones). Needs `espeak-ng` on
the path, and the packages of the `recipes` extra.
"""

from __future__ import annotations

import csv
import random
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import torch
from torchaudio.functional import resample

Samples = npt.NDArray[np.float64]

SAMPLE_RATE = 16_000
SEED = 20
KEYWORDS = ("go", "no", "stop", "yes")
OTHER_WORDS = (
    *("up", "down", "left", "right", "on", "off", "cat", "dog", "bird", "house", "happy", "follow", "seven", "three"),
    *("marvin", "sheila", "visual", "learn", "water", "window", "music", "light", "table", "number", "open", "close"),
)
ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029")
# Speakers are voice variants of espeak-ng. No variant is in two splits.
VARIANTS = {
    "train": (
        *("m1", "m2", "m3", "m5", "m7", "f1", "f2", "f4", "Alex", "Andy", "Annie", "Denis", "Gene", "Jacky", "Lee"),
        *("Mario", "Mike", "adam", "anika", "belinda", "edward", "linda"),
    ),
    "val": ("m4", "m8", "f3", "Michael", "aunty", "john"),
    "test": ("m6", "f5", "Alicia", "Hugo", "quincy", "shelby"),
}
KEYWORD_TAKES, OTHER_TAKES = 2, 3
# Further takes of the training voices, in other accents.
MORE_TAKES = 3
NOISE_CLIPS = {"train": 20, "val": 5, "test": 5}
STREAM_SECONDS, STREAM_KEYWORDS, STREAM_OTHERS = 120.0, 24, 16


@dataclass(frozen=True)
class Clip:
    """One recording: its samples in -1 to 1 and its row of `index.csv`."""

    path: str
    label: str
    speaker: str
    split: str
    samples: Samples

    @property
    def row(self) -> tuple[str, str, str, str, str]:
        """The columns path, label, speaker, split, duration_s."""
        return self.path, self.label, self.speaker, self.split, f"{len(self.samples) / SAMPLE_RATE:.4f}"


def speak(word: str, voice: str, rng: random.Random) -> Samples:
    """Say a word once, with a random pitch and speed, cut to where it is audible, at 16 kHz."""
    pitch, speed = rng.randint(25, 75), rng.randint(130, 210)
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder, "word.wav")
        subprocess.run(["espeak-ng", "-v", voice, "-p", str(pitch), "-s", str(speed), "-w", wav, word], check=True)
        samples, rate = soundfile.read(wav)
    sound: Samples = resample(torch.from_numpy(samples), rate, SAMPLE_RATE).numpy()
    audible = np.flatnonzero(np.abs(sound) > 0.02 * np.abs(sound).max())
    return sound[audible[0] : audible[-1] + 1]


def make_noise(samples: int, kind: str, rng: np.random.Generator) -> Samples:
    """Make noise of one kind with a root mean square of 1."""
    if kind == "hum":
        seconds, base, harmonics = np.arange(samples) / SAMPLE_RATE, rng.uniform(45, 130), np.arange(1, 9)
        weights, phases = rng.uniform(0.2, 1, (2, 8))
        noise = (weights / harmonics) @ np.sin(2 * np.pi * (np.outer(harmonics * base, seconds) + phases[:, None]))
    elif kind == "clicks":
        noise = rng.standard_normal(samples) * (rng.uniform(size=samples) < 1e-3)
        noise = np.convolve(noise, np.exp(-np.arange(200) / 30.0))[:samples]
    else:
        slope = {"white": 0.0, "pink": -0.5, "brown": -1.0}[kind]
        frequencies = np.fft.rfftfreq(samples, 1 / SAMPLE_RATE)
        shape = np.maximum(frequencies, 20.0) ** slope
        noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(samples)) * shape, samples)
    noise = noise + 1e-3 * rng.standard_normal(samples)
    scaled: Samples = noise / np.sqrt(np.mean(noise**2))
    return scaled


def add_margins(sound: Samples, rng: np.random.Generator) -> Samples:
    """Scale a word to a random level and put 30 to 80 ms of faint noise around it."""
    before, after = (int(SAMPLE_RATE * rng.uniform(0.03, 0.08)) for _ in range(2))
    level = rng.uniform(0.03, 0.12) / np.abs(sound).max()
    padded = np.pad(sound * level, (before, after))
    return padded + rng.uniform(0.3, 1.0) / 2**15 * make_noise(len(padded), "pink", rng)


def make_spoken_clips() -> list[Clip]:
    """Let every speaker say each keyword and some of the other words."""
    chooser, rng = random.Random(SEED), np.random.default_rng(SEED)
    clips = []
    for split, variants in VARIANTS.items():
        for variant in variants:
            accent = chooser.choice(ACCENTS)
            speaker = f"{variant}_{accent}"
            words = [*KEYWORDS * KEYWORD_TAKES, *chooser.sample(OTHER_WORDS, OTHER_TAKES)]
            for number, word in enumerate(words):
                label = word if word in KEYWORDS else "_unknown_"
                sound = add_margins(speak(word, f"{accent}+{variant}", chooser), rng)
                clips.append(Clip(f"{label}/{speaker}_{word}_{number}.flac", label, speaker, split, sound))
    return clips


def make_more_takes() -> list[Clip]:
    """Let the training speakers say each keyword again, and as many other words, each time in an accent of its own."""
    chooser, rng = random.Random(SEED + 3), np.random.default_rng(SEED + 3)
    clips = []
    for variant in VARIANTS["train"]:
        for number, word in enumerate([*KEYWORDS * MORE_TAKES, *chooser.sample(OTHER_WORDS, len(KEYWORDS))]):
            label, accent = word if word in KEYWORDS else "_unknown_", chooser.choice(ACCENTS)
            sound = add_margins(speak(word, f"{accent}+{variant}", chooser), rng)
            name = f"{label}/{variant}_{accent}_{word}_more{number}.flac"
            clips.append(Clip(name, label, f"{variant}_{accent}", "train", sound))
    return clips


def make_noise_clips() -> list[Clip]:
    """Make one-second clips without a word: noise of several kinds and levels."""
    rng = np.random.default_rng(SEED + 1)
    kinds = ("white", "pink", "brown", "hum", "clicks")
    clips = []
    for split, count in NOISE_CLIPS.items():
        for number in range(count):
            kind = kinds[number % len(kinds)]
            noise = make_noise(SAMPLE_RATE, kind, rng) * 10 ** rng.uniform(0.3, 1.6) / 2**15
            clips.append(Clip(f"_silence_/{split}_{kind}_{number}.flac", "_silence_", "", split, noise))
    return clips


def make_stream() -> tuple[Samples, list[tuple[str, str, str]]]:
    """Make two minutes of test voices over faint noise, and the rows (start, end, label) of the keywords in it."""
    chooser, rng = random.Random(SEED + 2), np.random.default_rng(SEED + 2)
    total = int(STREAM_SECONDS * SAMPLE_RATE)
    levels = np.interp(np.arange(total), np.linspace(0, total, 9), rng.uniform(0.8, 2.5, 9)) / 2**15
    stream = make_noise(total, "pink", rng) * levels
    words = [*KEYWORDS * (STREAM_KEYWORDS // len(KEYWORDS)), *chooser.sample(OTHER_WORDS, STREAM_OTHERS)]
    chooser.shuffle(words)
    slot = total // len(words)
    rows = []
    for number, word in enumerate(words):
        sound = speak(word, f"{chooser.choice(ACCENTS)}+{chooser.choice(VARIANTS['test'])}", chooser)
        start = number * slot + chooser.randint(SAMPLE_RATE // 4, slot - len(sound) - SAMPLE_RATE // 4)
        stream[start : start + len(sound)] += sound * rng.uniform(0.05, 0.15) / np.abs(sound).max()
        if word in KEYWORDS:
            rows.append((f"{start / SAMPLE_RATE:.3f}", f"{(start + len(sound)) / SAMPLE_RATE:.3f}", word))
    return stream, rows


def write_flac(path: Path, samples: Samples) -> None:
    """Write 16-bit FLAC at its best compression."""
    path.parent.mkdir(parents=True, exist_ok=True)
    integers = np.clip(np.round(samples * 2**15), -(2**15), 2**15 - 1).astype(np.int16)
    soundfile.write(path, integers, SAMPLE_RATE, subtype="PCM_16", compression_level=1.0)


def write_csv(path: Path, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Write a table with Unix line ends."""
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def main(folder: Path) -> None:
    """Write all of it; what stands in `folder`'s label folders before is replaced."""
    for label in (*KEYWORDS, "_unknown_", "_silence_"):
        shutil.rmtree(folder / label, ignore_errors=True)
    clips = sorted([*make_spoken_clips(), *make_more_takes(), *make_noise_clips()], key=lambda clip: clip.path)
    for clip in clips:
        write_flac(folder / clip.path, clip.samples)
    write_csv(folder / "index.csv", ("path", "label", "speaker", "split", "duration_s"), [clip.row for clip in clips])
    stream, rows = make_stream()
    write_flac(folder / "stream.flac", stream)
    write_csv(folder / "stream.csv", ("start", "end", "label"), [*rows])


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "tiny_kws")
