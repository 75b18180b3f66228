"""Recordings of words, noise and other speech, wherever they lie, as samples of 16 bits at 16 kHz."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from listings import (
    Clip,
    has_word_folders,
    hold_out_files,
    hold_out_speakers,
    read_index,
    read_word_folders,
)
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor
from torchaudio.datasets import SPEECHCOMMANDS
from torchaudio.functional import resample

from lightning_esp.errors import DataError
from lightning_esp.frontend import read_audio

SAMPLE_RATE = 16_000
SILENCE, UNKNOWN = "_silence_", "_unknown_"


def read_words(root: Path, download: bool, keywords: Sequence[str]) -> list[Clip]:
    """List the recordings of words in a folder: by its `index.csv`, as Speech Commands, or by a folder for each word.

    Raises:
        DataError: there is nothing of these, or what there is is not right.
    """
    if (root / "index.csv").exists():
        return hold_out(read_index(root))
    if download or (root / "SpeechCommands").exists():
        return read_speech_commands(root, download, keywords)
    if has_word_folders(root):
        return hold_out(read_word_folders(root))
    raise DataError(
        f"--data.root {root} {'holds no recordings' if root.is_dir() else 'is not a folder'}. Give a folder with an index.csv "
        "(columns path, label, and speaker and split where they are known), one with a folder of recordings for each word, or "
        "one for Speech Commands with --data.download true."
    )


def hold_out(clips: list[Clip]) -> list[Clip]:
    """Give a set the splits that it lacks: for `val` and for `test` a tenth of the training clips each; says so.

    Whole speakers are held out where there are enough for every split, else files of every label.

    Raises:
        DataError: no training clip of a word is left.
    """
    missing = {"val", "test"} - {clip.split for clip in clips}
    by_speaker = len({clip.speaker for clip in clips if clip.split == "train"} - {""}) > len(missing)
    for split, offset in (("val", 0), ("test", 5)):
        if split not in missing:
            continue
        clips = hold_out_speakers(clips, split, offset) if by_speaker else hold_out_files(clips, split, 10)
        count, what = sum(clip.split == split for clip in clips), "whole speakers" if by_speaker else "every label"
        rank_zero_info(f"The set has no split {split!r}: {count} of its training clips, of {what}, are held out.")
    bare = {clip.label for clip in clips} - {clip.label for clip in clips if clip.split == "train"}
    if bare:
        counts = dict(Counter(clip.split for clip in clips))
        raise DataError(f"no training clips are there of {sorted(bare)}; the splits have {counts} clips. Record more.")
    return clips


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
    """Read a recording as 16-bit samples at 16 kHz, shape [samples].

    Raises:
        DataError: it cannot be read, and why.
    """
    samples, rate = read_audio(path)
    first = torch.from_numpy(samples)
    if rate == SAMPLE_RATE:
        return first
    # A loud recording overshoots full scale between its samples.
    resampled: Tensor = resample(first.float(), rate, SAMPLE_RATE)
    return resampled.round().clamp(-(2**15), 2**15 - 1).short()


def fit_length(samples: Tensor, length: int) -> Tensor:
    """Cut or zero-pad both ends alike, so that the middle stays the middle."""
    missing = length - len(samples)
    return torch.nn.functional.pad(samples, (missing // 2, missing - missing // 2))


def find_beside(root: Path, name: str, folder: Path | None) -> Path | None:
    """Return `folder` where one is given, else the folder `name` beside `root` if it has an `index.csv`; says so."""
    beside = folder or root.resolve().parent / name
    if not folder and not (beside / "index.csv").exists():
        return None
    rank_zero_info(f"Recordings of {name} come from {beside}.")
    return beside


def find_noise(root: Path, folder: Path | None, clips: Sequence[Clip]) -> list[Clip]:
    """List the recordings of noise; see `SpeechData`'s `noise_root`."""
    beside = find_beside(root, "noise", folder)
    if beside:
        return _for_training(beside, hold_out_files(read_index(beside)))
    background = sorted(
        [*root.glob("SpeechCommands/*/_background_noise_/*.wav"), *root.glob("_background_noise_/*.wav")]
    )
    if background:
        return hold_out_files([Clip(path, "noise", "", "train") for path in background])
    return [clip for clip in clips if clip.label == SILENCE]


def find_speech(root: Path, folder: Path | None) -> list[Clip]:
    """List the recordings of speech without keywords; see `SpeechData`'s `speech_root`."""
    beside = find_beside(root, "negatives", folder)
    return _for_training(beside, hold_out_files(read_index(beside))) if beside else []


def _for_training(folder: Path, clips: list[Clip]) -> list[Clip]:
    if all(clip.split != "train" for clip in clips):
        raise DataError(f"{folder / 'index.csv'} has no recording of the split 'train'; training needs some.")
    return clips


def read_waveforms(clips: Sequence[Clip], split: str) -> list[Tensor]:
    """Read the recordings of a split: waveforms [samples] in -1 to 1."""
    return [load(clip.path).float() / 2**15 for clip in clips if clip.split == split]
