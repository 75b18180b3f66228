"""Spoken words as Lightning data: the tiny set, a folder with an `index.csv`, or the full Speech Commands."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import pytorch_lightning as pl
import torch
from augmentation import draw_stretches, mix_noise, shift_in_time
from clips import (
    SAMPLE_RATE,
    SILENCE,
    UNKNOWN,
    find_noise,
    find_speech,
    fit_length,
    load,
    read_words,
)
from listings import Clip
from streams import Recording, make_streams
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

TINY_SET = Path(__file__).resolve().parents[1] / "datasets" / "tiny_kws"


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


class SpeechData(pl.LightningDataModule):
    """Spoken words in clips of one length; batches are (waveforms [batch, samples], label indices [batch]).

    Args:
        root: a folder with an `index.csv`, one with a folder of recordings for each word, or the folder in which
            torchaudio keeps Speech Commands.
        batch_size: clips in a batch.
        noise_root: a folder of noise with an `index.csv`. Default: `noise` beside `root` if there is one, else the
            background noise of Speech Commands, else the training clips labelled `_silence_`.
        speech_root: a folder of speech without keywords with an `index.csv`. Default: `negatives` beside `root` if there
            is one. Training batches get stretches of it as `_unknown_`, a class that the set need not have.
        speech_share: how many such stretches there are for each clip of a training batch.
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
        noise_decibels: tuple[float, float] = (0.0, 25.0),
        noise_share: float = 0.75,
        shift_seconds: float = 0.1,
        speech_root: str | Path | None = None,
        speech_share: float = 0.125,
        seconds: float = 1.0,
        download: bool = False,
        keywords: Sequence[str] = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"),
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        self.batch_size, self.num_workers, self.length = batch_size, num_workers, round(seconds * SAMPLE_RATE)
        self.decibels, self.share, self.shift = noise_decibels, noise_share, round(shift_seconds * SAMPLE_RATE)
        root = Path(root)
        self.clips = read_words(root, download, keywords)
        self.noise_clips = find_noise(root, Path(noise_root) if noise_root else None, self.clips)
        self.speech_clips = find_speech(root, Path(speech_root) if speech_root else None)
        self.speech_share = speech_share
        self.made_silence = bool(self.noise_clips) and all(clip.label != SILENCE for clip in self.clips)
        made = {SILENCE: self.made_silence, UNKNOWN: bool(self.speech_clips)}
        self.labels = sorted(
            {clip.label for clip in self.clips} | {label for label, is_made in made.items() if is_made}
        )
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
        """All noise to train with in a row, 16-bit, longer than a clip."""
        return self._in_a_row(self.noise_clips)

    @cached_property
    def speech(self) -> Tensor:
        """All speech without keywords to train with in a row, 16-bit, longer than a clip."""
        return self._in_a_row(self.speech_clips)

    def _in_a_row(self, clips: Sequence[Clip]) -> Tensor:
        row = torch.cat([load(clip.path) for clip in clips if clip.split == "train"])
        return row if len(row) > self.length else row.repeat(1 + self.length // len(row))

    def train_dataloader(self) -> DataLoader[tuple[Tensor, int]]:
        """Training clips, shuffled."""
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, int]]:
        """Validation clips."""
        return self._loader("val")

    def test_dataloader(self) -> DataLoader[tuple[Tensor, int]]:
        """Test clips."""
        return self._loader("test")

    def validation_streams(self) -> list[Recording]:
        """Long recordings of the validation split, on which the export chooses the detector's thresholds."""
        return make_streams(self.clips, self.speech_clips, self.noise_clips, "val")

    def on_after_batch_transfer(self, batch: tuple[Tensor, Tensor], dataloader_idx: int) -> tuple[Tensor, Tensor]:
        """Augment training batches: all clips at once, so that it costs little."""
        if self.trainer is None or not self.trainer.training:
            return batch
        waveforms, labels = shift_in_time(batch[0], self.shift), batch[1]
        if self.speech_clips:
            extra = draw_stretches(self.speech, round(self.speech_share * len(labels)), self.length).to(waveforms)
            waveforms = torch.cat([waveforms, extra])
            labels = torch.cat([labels, labels.new_full((len(extra),), self.labels.index(UNKNOWN))])
        if self.noise_clips:
            waveforms = mix_noise(waveforms, self.noise, self.decibels, self.share)
        return waveforms, labels

    def _loader(self, split: str, shuffle: bool = False) -> DataLoader[tuple[Tensor, int]]:
        dataset = self.dataset(split)
        return DataLoader(
            dataset,
            self.batch_size,
            shuffle=shuffle,
            # Of a set smaller than a batch nothing would be left.
            drop_last=shuffle and len(dataset) >= self.batch_size,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )
