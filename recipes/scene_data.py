"""Data of the keyword recipes: words in scenes for training, clips and long streams to judge with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from augmentation import draw_stretches, mix_noise
from clips import SAMPLE_RATE, SILENCE, UNKNOWN, fit_length, load
from listings import Clip
from rooms import change_gain, equalize_waveforms, limit_band, read_rooms, reverberate, simulate_rooms, telephone
from rows import Row, read_row
from scenes import Scenes, find_word, make_scenes
from streams import Recording, make_streams
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

# A clip is longer by so much than its recording: the detector averages behind a word.
DECISION_SECONDS = 0.3
# What scores lowest among the speech without keywords is still drawn so often beside what scores highest.
LEAST_WEIGHT = 0.02
# So many pieces of it are named as those that sound most as a keyword.
HARDEST = 3
# Simulated rooms to draw from.
ROOMS = 200


class Clips(Dataset[tuple[Tensor, int]]):
    """Decoded recordings of one length in memory (16-bit), with the index of the label of each."""

    def __init__(self, clips: Sequence[Clip], labels: Sequence[str], length: int, silent: int = 0) -> None:
        rows = [fit_length(load(clip.path), length) for clip in clips]
        made = torch.zeros(silent, length, dtype=torch.int16)
        self.samples = torch.cat([torch.stack(rows), made]) if rows else made
        self.targets = [labels.index(label) for label in [*(clip.label for clip in clips), *[SILENCE] * silent]]
        self.tail = torch.zeros(round(DECISION_SECONDS * SAMPLE_RATE))

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.cat([self.samples[index].float() / 2**15, self.tail]), self.targets[index]


class Words(Dataset[tuple[Tensor, int, int, int]]):
    """The same clips, and the first and last sample of the word in each; -1 in silence."""

    def __init__(self, clips: Clips, labels: Sequence[str]) -> None:
        self.clips = clips
        none = labels.index(SILENCE) if SILENCE in labels else -1
        self.words = [
            (-1, -1) if target == none else find_word(samples)
            for samples, target in zip(clips.samples, clips.targets, strict=True)
        ]

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> tuple[Tensor, int, int, int]:
        return self.clips.samples[index].float() / 2**15, self.clips.targets[index], *self.words[index]


class SceneData(pl.LightningDataModule):
    """Words, speech without keywords, and noise. A subclass lists them: `clips`, `speech_clips`, `noise_clips`, `labels`.

    Training batches are `Scenes`: each word at a random place of a longer recording, other speech around it. Those of
    validation and test are (waveforms [batch, samples], label indices [batch]).

    Args:
        batch_size: clips in a batch.
        noise_decibels: the range of the signal-to-noise ratio of training scenes.
        noise_share: the share of training scenes that get noise.
        speech_share: how many scenes of speech alone there are for each clip of a training batch.
        scene_seconds: the length of a training scene.
        around_share: the share of scenes with other speech around the word.
        seconds: the length of a clip.
        num_workers: processes that load data; the clips are in memory, so 0 is fast.
        room_share: the share of training scenes that lie in a room, and of those with another microphone's colour.
        rooms_root: a folder of room responses; None: rooms are simulated.
    """

    clips: list[Clip]
    speech_clips: list[Clip]
    noise_clips: list[Clip]
    labels: list[str]

    def __init__(
        self,
        batch_size: int,
        noise_decibels: tuple[float, float],
        noise_share: float,
        speech_share: float,
        scene_seconds: float,
        around_share: float,
        seconds: float,
        num_workers: int,
        room_share: float = 0.0,
        rooms_root: Path | None = None,
    ) -> None:
        super().__init__()
        self.batch_size, self.num_workers, self.length = batch_size, num_workers, round(seconds * SAMPLE_RATE)
        self.decibels, self.share, self.speech_share = noise_decibels, noise_share, speech_share
        self.scene, self.around_share = round(scene_seconds * SAMPLE_RATE), around_share
        self.room_share, self.rooms_root = room_share, rooms_root
        self._decoded: dict[str, Clips] = {}
        self._weights: Tensor | None = None

    @property
    def made_silence(self) -> bool:
        """True where silence is a class that the clips lack, so that it is made."""
        return SILENCE in self.labels and all(clip.label != SILENCE for clip in self.clips)

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
        """All noise to train with in a row, 16-bit, longer than a scene."""
        return read_row(self.noise_clips, self.scene).samples

    @property
    def speech(self) -> Tensor | None:
        """All speech without keywords to train with in a row, 16-bit, longer than a scene."""
        return self._speech.samples if self._speech else None

    @cached_property
    def _speech(self) -> Row | None:
        """Of the clips where there is no other."""
        clips = self.speech_clips or [clip for clip in self.clips if clip.label == UNKNOWN]
        return read_row(clips, self.scene) if any(clip.split == "train" for clip in clips) else None

    @cached_property
    def rooms(self) -> Tensor:
        """Room responses [rooms, samples]."""
        return read_rooms(self.rooms_root) if self.rooms_root else simulate_rooms(ROOMS)

    def mine(self, score: Callable[[Tensor], Tensor]) -> list[tuple[float, Path, float]]:
        """Draw speech from now on the more often, the more it sounds to the model as a keyword.

        Args:
            score: the highest score of any keyword in waveforms [batch, samples], 0 to 1, [batch].

        Returns:
            Score, recording and second of what sounds most as one.
        """
        row = self._speech
        if row is None:
            return []
        scenes = row.samples[: len(row.samples) // self.scene * self.scene].reshape(-1, self.scene)
        scores = [score(batch.float() / 2**15) for batch in torch.split(scenes, self.batch_size)]
        found = torch.cat(scores).cpu()
        self._weights = found.clamp(min=LEAST_WEIGHT)
        most = found.topk(min(HARDEST, len(found)))
        pairs = zip(most.values.tolist(), most.indices.tolist(), strict=True)
        return [(value, *row.find(int(number) * self.scene)) for value, number in pairs]

    def train_dataloader(self) -> DataLoader[Any]:
        """Training clips, shuffled."""
        return self._loader(Words(self.dataset("train"), self.labels), shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """Validation clips."""
        return self._loader(self.dataset("val"))

    def test_dataloader(self) -> DataLoader[Any]:
        """Test clips."""
        return self._loader(self.dataset("test"))

    def validation_streams(self) -> list[Recording]:
        """Long recordings of the validation split, on which the export chooses the detector's thresholds."""
        return make_streams(self.clips, self.speech_clips, self.noise_clips, "val")

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Make scenes of training batches: all clips at once, so that it costs little."""
        if self.trainer is None or not self.trainer.training:
            return batch
        scenes = make_scenes(Scenes(*batch), self.speech, self.scene, self.around_share)
        if self.speech is not None:
            scenes = self._add_speech(scenes, self.speech)
        waveforms = scenes.waveforms
        if self.room_share:
            waveforms = reverberate(waveforms, self.rooms, self.room_share)
        if self.noise_clips:
            waveforms = mix_noise(waveforms, self.noise, self.decibels, self.share)
        if self.room_share:
            waveforms = telephone(limit_band(equalize_waveforms(waveforms), self.room_share / 2), self.room_share / 4)
            waveforms = change_gain(waveforms)
        return replace(scenes, waveforms=waveforms)

    def _add_speech(self, scenes: Scenes, speech: Tensor) -> Scenes:
        count = round(self.speech_share * len(scenes.labels))
        extra = draw_stretches(speech, count, self.scene, self._weights).to(scenes.waveforms)
        none = scenes.start.new_full((count,), -1)
        return Scenes(
            torch.cat([scenes.waveforms, extra]),
            torch.cat([scenes.labels, none]),
            torch.cat([scenes.start, none]),
            torch.cat([scenes.end, none]),
        )

    def _loader(self, dataset: Clips | Words, shuffle: bool = False) -> DataLoader[Any]:
        return DataLoader(
            dataset,
            self.batch_size,
            shuffle=shuffle,
            # Of a set smaller than a batch nothing would be left.
            drop_last=shuffle and len(dataset) >= self.batch_size,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )
