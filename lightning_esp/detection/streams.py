"""Long recordings with known keywords, made of clips, other speech and noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_esp.detection.keywords import Keyword
from lightning_esp.errors import ConfigurationError, DataError


@dataclass(frozen=True)
class Stream:
    """A long recording.

    Args:
        waveform: `[samples]`, floating point.
        keywords: what is said in it and when.
        repeated: share of the audio of clips and fillers that was in the stream before.
    """

    waveform: Tensor
    keywords: tuple[Keyword, ...]
    repeated: float


class StreamDataset(Dataset[Stream]):
    """Streams in which clips and fillers follow each other with pauses between, over noise.

    A stream depends on `seed` and its index alone. Clips and fillers are drawn without replacement until all were used,
    then again; how much repeats stands in `Stream.repeated`.

    Args:
        clips: waveforms `[samples]` of keywords, their labels, and where known their `Keyword.groups`.
        fillers: waveforms of other speech or sounds; may be empty.
        noise: waveforms to lie under it all, looped; empty for silence.
        sample_rate: samples per second.
        seconds: length of each stream.
        streams: number of streams.
        keywords_per_minute: mean number of keywords; fillers take the rest of the time.
        decibels: signal-to-noise ratio, the power of a stream's clips and fillers over that of its noise.
        pause: shortest and longest pause in seconds.
        seed: seed of everything random.

    Raises:
        ConfigurationError: an option cannot work.
        DataError: a waveform is silent or not one-dimensional, or there are neither clips nor fillers nor noise.
    """

    def __init__(
        self,
        clips: Sequence[tuple[Tensor, str] | tuple[Tensor, str, Mapping[str, str]]],
        fillers: Sequence[Tensor] = (),
        noise: Sequence[Tensor] = (),
        *,
        sample_rate: int = 16_000,
        seconds: float = 60.0,
        streams: int = 1,
        keywords_per_minute: float = 10.0,
        decibels: float = 10.0,
        pause: tuple[float, float] = (0.3, 1.5),
        seed: int = 0,
    ) -> None:
        if not (seconds > 0 and streams >= 1 and keywords_per_minute >= 0 and 0 <= pause[0] <= pause[1]):
            raise ConfigurationError(
                f"StreamDataset(seconds={seconds}, streams={streams}, keywords_per_minute={keywords_per_minute}, "
                f"pause={pause}): lengths and numbers are positive, and the pause goes from short to long."
            )
        if not (clips or fillers or noise):
            raise DataError("StreamDataset got neither clips nor fillers nor noise; give some of them.")
        for waveform in [*(clip for clip, *_ in clips), *fillers, *noise]:
            if waveform.dim() != 1 or not waveform.is_floating_point():
                raise DataError(
                    f"StreamDataset got a waveform of shape {list(waveform.shape)}, {waveform.dtype}; "
                    "give floating-point waveforms [samples]."
                )
        self.clips, self.fillers, self.noise = list(clips), list(fillers), list(noise)
        self.sample_rate, self.length, self.streams = sample_rate, round(seconds * sample_rate), streams
        self.share = keywords_per_minute / 60
        self.decibels, self.pause, self.seed = decibels, pause, seed

    def __len__(self) -> int:
        return self.streams

    def __getitem__(self, index: int) -> Stream:
        if not 0 <= index < self.streams:
            raise IndexError(index)
        random = torch.Generator().manual_seed(self.seed * 1_000_003 + index)
        speech, keywords, repeated = self._speak(random)
        return Stream(speech + self._murmur(random, speech), tuple(keywords), repeated)

    def _speak(self, random: torch.Generator) -> tuple[Tensor, list[Keyword], float]:
        speech, keywords = torch.zeros(self.length), list[Keyword]()
        decks = {"clip": Deck(len(self.clips), random), "filler": Deck(len(self.fillers), random)}
        position, spoken, repeated = self._draw_pause(random), 0, 0
        while self.clips or self.fillers:
            kind = self._choose(position, len(keywords), random)
            number, again = decks[kind].draw()
            waveform, *told = self.clips[number] if kind == "clip" else (self.fillers[number],)
            end = position + len(waveform)
            if end > self.length:
                break
            speech[position:end] = waveform
            spoken, repeated = spoken + len(waveform), repeated + again * len(waveform)
            if told:
                keywords.append(Keyword(position / self.sample_rate, end / self.sample_rate, *told))
            position = end + self._draw_pause(random)
        return speech, keywords, repeated / max(1, spoken)

    def _choose(self, position: int, keywords: int, random: torch.Generator) -> str:
        if not self.fillers or not self.clips:
            return "clip" if self.clips else "filler"
        late = self.share * position / self.sample_rate - keywords
        return "clip" if late + float(torch.rand((), generator=random)) > 0.5 else "filler"

    def _draw_pause(self, random: torch.Generator) -> int:
        low, high = self.pause
        return round((low + (high - low) * float(torch.rand((), generator=random))) * self.sample_rate)

    def _murmur(self, random: torch.Generator, speech: Tensor) -> Tensor:
        return lay_noise(self.noise, speech, self.decibels, random)[0]


def lay_noise(
    noise: Sequence[Tensor], speech: Tensor, decibels: float, random: torch.Generator
) -> tuple[Tensor, float]:
    """Loop noise over the length of a recording, at its distance from the speech; as it is where there is no speech.

    Args:
        noise: waveforms `[samples]`; may be empty.
        speech: waveform `[samples]`, exact zeros in its pauses.
        decibels: power of the speech over that of the noise.
        random: draws the order.

    Returns:
        The noise, and the share of it that is there for the second time or more.
    """
    parts, length, repeated = list[Tensor](), 0, 0
    deck = Deck(len(noise), random)
    while noise and length < len(speech):
        number, again = deck.draw()
        part = noise[number][: len(speech) - length]
        parts.append(part)
        length, repeated = length + len(part), repeated + again * len(part)
    murmur = torch.cat(parts) if parts else torch.zeros(len(speech))
    spoken = speech[speech != 0].square().mean() if bool((speech != 0).any()) else None
    power = murmur.square().mean()
    if spoken is not None and float(power) > 0:
        murmur = murmur * torch.sqrt(spoken / power / 10 ** (decibels / 10))
    return murmur, repeated / max(1, length)


class Deck:
    """Draws every number once before any comes again."""

    def __init__(self, size: int, random: torch.Generator) -> None:
        self._size, self._random = size, random
        self._left: list[int] = []
        self._rounds = 0

    def draw(self) -> tuple[int, bool]:
        """The next number, and whether it was drawn before."""
        if not self._left:
            self._left = torch.randperm(self._size, generator=self._random).tolist()
            self._rounds += 1
        return self._left.pop(), self._rounds > 1
