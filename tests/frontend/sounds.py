"""Sounds that try a front end: silence, full scale, tones, and noise of every loudness."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def make_sounds(samples: int = 12000) -> dict[str, Tensor]:
    """Return recordings by name, int16 `[samples]`."""
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(samples) / 16000
    square = torch.where((time * 800).long() % 2 == 0, 32767.0, -32768.0)
    # The sign of every sample is that of the window function's transform at its peak: what fills a word most.
    alternating = torch.where(torch.arange(samples) % 2 == 0, 32767.0, -32768.0)
    noise = torch.randn(samples, generator=generator)
    sounds = {
        "silence": torch.zeros(samples),
        "offset": torch.full((samples,), -32768.0),
        "square": square,
        "alternating": alternating,
        "tone": 32767 * torch.sin(2 * math.pi * 1000 * time),
        "quiet tone": 3 * torch.sin(2 * math.pi * 440 * time),
        "least noise": torch.randint(-1, 2, (samples,), generator=generator).float(),
        "random": torch.randint(-32768, 32768, (samples,), generator=generator).float(),
        "noise": 3000 * noise,
        "rising noise": noise * torch.logspace(0, 4, samples),
        "impulse": torch.nn.functional.one_hot(torch.tensor(samples // 2), samples) * -32768.0,
    }
    return {name: sound.round().clamp(-32768, 32767).to(torch.int16) for name, sound in sounds.items()}
