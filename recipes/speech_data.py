"""Spoken words as Lightning data: the tiny set, a folder with an `index.csv`, or the full Speech Commands."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pytorch_lightning as pl
import soundfile
import torch
from augmentation import mix_noise, shift_in_time
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchaudio.datasets import SPEECHCOMMANDS
from torchaudio.functional import resample

TINY_SET = Path(__file__).resolve().parents[1] / "datasets" / "tiny_kws"
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


class Clips(Dataset[tuple[Tensor, int]]):
    """Decoded recordings of one length in memory (16-bit), with the index of the label of each."""

    def __init__(self, clips: Sequence[Clip], labels: Sequence[str], length: int, silent: int = 0) -> None:
        rows = [fit_length(load(clip.path), length) for clip in clips]
        self.samples = torch.stack([*rows, *[torch.zeros(length, dtype=torch.int16)] * silent])
        self.targets = [labels.index(label) for label in [*(clip.label for clip in clips), *[SILENCE] * silent]]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.samples[index].float() / 2**15, self.targets[index]


def find_noise(root: Path, noise_root: Path | None, clips: Sequence[Clip]) -> list[Path]:
    """Choose the recordings of noise to train with; see `SpeechData`'s `noise_root`."""
    folder = noise_root or root.resolve().parent / "noise"
    if noise_root or (folder / "index.csv").exists():
        return [clip.path for clip in hold_out_files(read_index(folder)) if clip.split == "train"]
    background = sorted(root.glob("SpeechCommands/*/_background_noise_/*.wav"))
    return background or [clip.path for clip in clips if (clip.label, clip.split) == (SILENCE, "train")]


class SpeechData(pl.LightningDataModule):
    """Spoken words in clips of one length; batches are (waveforms [batch, samples], label indices [batch]).

    Args:
        root: a folder with an `index.csv`, or the folder in which torchaudio keeps Speech Commands.
        batch_size: clips in a batch.
        noise_root: a folder of noise with an `index.csv`. Default: `noise` beside `root` if there is one, else the
            background noise of Speech Commands, else the training clips labelled `_silence_`.
        noise_decibels: the range of the signal-to-noise ratio of training clips.
        noise_share: the share of training clips that get noise.
        shift_seconds: how far training clips are moved at most.
        seconds: the length of a clip.
        download: fetch Speech Commands (2.3 GB) into `root`.
        keywords: the words of Speech Commands to tell apart; all others are `_unknown_`.
        num_workers: processes that load data; the clips are in memory, so 0 is fast.
    """

    def __init__(
        self,
        root: str | Path = TINY_SET,
        batch_size: int = 32,
        noise_root: str | Path | None = None,
        noise_decibels: tuple[float, float] = (0.0, 30.0),
        noise_share: float = 0.7,
        shift_seconds: float = 0.1,
        seconds: float = 1.0,
        download: bool = False,
        keywords: Sequence[str] = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"),
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        self.batch_size, self.num_workers, self.length = batch_size, num_workers, round(seconds * SAMPLE_RATE)
        self.decibels, self.share, self.shift = noise_decibels, noise_share, round(shift_seconds * SAMPLE_RATE)
        root = Path(root)
        indexed = (root / "index.csv").exists()
        self.clips = hold_out_speakers(read_index(root)) if indexed else read_speech_commands(root, download, keywords)
        self.noise_files = find_noise(root, Path(noise_root) if noise_root else None, self.clips)
        self.made_silence = bool(self.noise_files) and all(clip.label != SILENCE for clip in self.clips)
        self.labels = sorted({clip.label for clip in self.clips} | ({SILENCE} if self.made_silence else set()))
        self._decoded: dict[str, Clips] = {}

    def dataset(self, split: str) -> Clips:
        """The clips of a split, decoded once. Training gets silence where the set has none; noise is mixed in later."""
        if split not in self._decoded:
            clips = [clip for clip in self.clips if clip.split == split]
            silent = len(clips) // len(self.labels) if self.made_silence and split == "train" else 0
            self._decoded[split] = Clips(clips, self.labels, self.length, silent)
        return self._decoded[split]

    def sample_waveforms(self, count: int) -> Tensor:
        """About `count` training clips, evenly spread: waveforms [clips, samples]."""
        samples = self.dataset("train").samples[: sum(clip.split == "train" for clip in self.clips)]
        return samples[:: max(1, len(samples) // count)].float() / 2**15

    @cached_property
    def noise(self) -> Tensor:
        """All noise in a row, 16-bit, longer than a clip."""
        noise = torch.cat([load(path) for path in self.noise_files])
        return noise.repeat(1 + self.length // len(noise))

    def train_dataloader(self) -> DataLoader[tuple[Tensor, int]]:
        """Training clips, shuffled."""
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, int]]:
        """Validation clips."""
        return self._loader("val")

    def test_dataloader(self) -> DataLoader[tuple[Tensor, int]]:
        """Test clips."""
        return self._loader("test")

    def on_after_batch_transfer(self, batch: tuple[Tensor, Tensor], dataloader_idx: int) -> tuple[Tensor, Tensor]:
        """Augment training batches: all clips at once, so that it costs little."""
        if self.trainer is None or not self.trainer.training:
            return batch
        waveforms = shift_in_time(batch[0], self.shift)
        if self.noise_files:
            waveforms = mix_noise(waveforms, self.noise, self.decibels, self.share)
        return waveforms, batch[1]

    def _loader(self, split: str, shuffle: bool = False) -> DataLoader[tuple[Tensor, int]]:
        return DataLoader(
            self.dataset(split),
            self.batch_size,
            shuffle=shuffle,
            drop_last=shuffle,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )
