"""Lists of recordings: folders with an `index.csv`, the full Speech Commands, and what is held out of them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import soundfile
import torch
from torch import Tensor
from torchaudio.datasets import SPEECHCOMMANDS
from torchaudio.functional import resample

SAMPLE_RATE = 16_000
SILENCE, UNKNOWN = "_silence_", "_unknown_"


@dataclass(frozen=True)
class Clip:
    """Where a recording is and what it says."""

    path: Path
    label: str
    speaker: str
    split: str


def read_index(root: Path) -> list[Clip]:
    """Read `root/index.csv`."""
    with (root / "index.csv").open(newline="") as file:
        return [Clip(root / row["path"], row["label"], row["speaker"], row["split"]) for row in csv.DictReader(file)]


def hold_out_speakers(clips: list[Clip]) -> list[Clip]:
    """Give a set without a `val` split one: all clips of every tenth training speaker."""
    if any(clip.split == "val" for clip in clips):
        return clips
    held = set(sorted({clip.speaker for clip in clips if clip.split == "train"})[::10])
    return [replace(clip, split="val") if clip.split == "train" and clip.speaker in held else clip for clip in clips]


def hold_out_files(clips: list[Clip]) -> list[Clip]:
    """Give recordings without speakers a `val` split: every fifth training file of each label, in the order of paths."""
    train = sorted((clip for clip in clips if clip.split == "train"), key=lambda clip: (clip.label, clip.path))
    held = {clip.path for clip in train[4::5]}
    return [replace(clip, split="val") if clip.path in held else clip for clip in clips]


def read_speech_commands(root: Path, download: bool, keywords: Sequence[str]) -> list[Clip]:
    """List the official splits; of all other words only as many clips are kept as a keyword has on average."""
    clips: list[Clip] = []
    for split, subset in (("train", "training"), ("val", "validation"), ("test", "testing")):
        source = SPEECHCOMMANDS(root, download=download, subset=subset)
        rows = [source.get_metadata(number) for number in range(len(source))]
        found = [Clip(root / "SpeechCommands" / row[0], row[2], row[3], split) for row in rows]
        spoken = [clip for clip in found if clip.label in keywords]
        others = [Clip(clip.path, UNKNOWN, clip.speaker, split) for clip in found if clip.label not in keywords]
        clips += spoken + others[:: max(1, len(others) * len(keywords) // max(1, len(spoken)))]
    return clips


def load(path: Path) -> Tensor:
    """Read a recording as 16-bit samples at 16 kHz, shape [samples]."""
    samples, rate = soundfile.read(path, dtype="int16", always_2d=True)
    first = torch.from_numpy(samples[:, 0].copy())
    return first if rate == SAMPLE_RATE else resample(first.float(), rate, SAMPLE_RATE).round().short()


def fit_length(samples: Tensor, length: int) -> Tensor:
    """Cut or zero-pad both ends alike, so that the middle stays the middle."""
    missing = length - len(samples)
    return torch.nn.functional.pad(samples, (missing // 2, missing - missing // 2))


def find_beside(root: Path, name: str, folder: Path | None) -> Path | None:
    """Return `folder` where one is given, else the folder `name` beside `root` if it has an `index.csv`."""
    beside = folder or root.resolve().parent / name
    return beside if folder or (beside / "index.csv").exists() else None


def find_noise(root: Path, folder: Path | None, clips: Sequence[Clip]) -> list[Clip]:
    """List the recordings of noise; see `SpeechData`'s `noise_root`."""
    beside = find_beside(root, "noise", folder)
    if beside:
        return hold_out_files(read_index(beside))
    background = sorted(root.glob("SpeechCommands/*/_background_noise_/*.wav"))
    if background:
        return hold_out_files([Clip(path, "noise", "", "train") for path in background])
    return [clip for clip in clips if clip.label == SILENCE]


def find_speech(root: Path, folder: Path | None) -> list[Clip]:
    """List the recordings of speech without keywords; see `SpeechData`'s `speech_root`."""
    beside = find_beside(root, "negatives", folder)
    return hold_out_files(read_index(beside)) if beside else []


def read_waveforms(clips: Sequence[Clip], split: str) -> list[Tensor]:
    """Read the recordings of a split: waveforms [samples] in -1 to 1."""
    return [load(clip.path).float() / 2**15 for clip in clips if clip.split == split]
