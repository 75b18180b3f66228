"""Long recordings with keywords at known times, and long ones without: how a detector is judged."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from clips import SAMPLE_RATE, SILENCE, read_waveforms
from listings import Clip
from torch import Tensor

from lightning_esp.detection import Keyword, StreamDataset

Recording = tuple[Tensor, Sequence[Keyword]]

PAUSE = (0.5, 1.5)


def make_streams(
    clips: Sequence[Clip], speech: Sequence[Clip], noise: Sequence[Clip], split: str, decibels: float = 10.0
) -> list[Recording]:
    """One stream that holds every clip of a split once, keywords and other words, over noise; then what holds no keyword.

    Args:
        clips: words; labels that start with an underscore are no keywords.
        speech: recordings without keywords.
        noise: recordings of noise.
        split: the split to take all of these from.
        decibels: signal-to-noise ratio of the keyword stream.

    Returns:
        Pairs (waveform [samples], keywords): the keyword stream, then all speech in a row, then all noise.
    """
    words = [clip for clip in clips if not clip.label.startswith("_")]
    others = [clip for clip in clips if clip.label.startswith("_") and clip.label != SILENCE]
    recordings = [make_keyword_stream(words, others, noise, split, decibels)]
    for silent in (speech, noise):
        waveforms = read_waveforms(silent, split)
        recordings += [(torch.cat(waveforms), ())] if waveforms else []
    return recordings


def make_keyword_stream(
    words: Sequence[Clip], others: Sequence[Clip], noise: Sequence[Clip], split: str, decibels: float
) -> Recording:
    """Every clip of a split once, with pauses between, over noise of the same split."""
    told = [(word.label, word.groups) for word in words if word.split == split]
    spoken = [(waveform, *each) for waveform, each in zip(read_waveforms(words, split), told, strict=True)]
    fillers = read_waveforms(others, split)
    seconds = sum(len(waveform) for waveform in [*fillers, *(waveform for waveform, *_ in spoken)]) / SAMPLE_RATE
    seconds += sum(PAUSE) / 2 * (len(spoken) + len(fillers))
    stream = StreamDataset(
        spoken,
        fillers,
        read_waveforms(noise, split),
        seconds=seconds,
        keywords_per_minute=60 * len(spoken) / seconds,
        decibels=decibels,
        pause=PAUSE,
    )[0]
    return stream.waveform, stream.keywords
