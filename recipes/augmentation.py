"""Random changes to whole batches of training audio and features; all use torch's global random state."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def draw_stretches(recording: Tensor, count: int, length: int, weights: Tensor | None = None) -> Tensor:
    """Random stretches of a 16-bit recording [samples]: waveforms [count, length].

    Args:
        recording: longer than `length`.
        count: how many.
        length: samples of each.
        weights: how often each piece of `length` samples is drawn, [pieces]; None: all alike.
    """
    if weights is None:
        start = torch.randint(0, len(recording) - length + 1, (count, 1))
    else:
        piece = torch.multinomial(weights, count, replacement=True)[:, None]
        start = (piece * length + torch.randint(-length // 2, length // 2, (count, 1))).clamp(
            0, len(recording) - length
        )
    return recording[start + torch.arange(length)].float() / 2**15


def mix_noise(waveforms: Tensor, noise: Tensor, decibels: tuple[float, float], share: float) -> Tensor:
    """Add a random stretch of `noise` [samples] at a random signal-to-noise ratio to a share of the waveforms.

    A waveform of zeros, an example of silence, always gets noise: as loud as it was recorded, or at a level between -70
    and -20 dB of full scale.
    """
    count, length = waveforms.shape
    added = draw_stretches(noise, count, length).to(waveforms)
    level = added.square().mean(1, keepdim=True).sqrt()
    random = torch.rand(3, count, 1, device=waveforms.device)
    loudness = waveforms.square().mean(1, keepdim=True).sqrt()
    silent = loudness < 1e-5
    wanted = torch.where(
        silent,
        torch.where(random[1] < 0.5, level, 10 ** (-3.5 + 2.5 * random[0])),
        loudness * 10 ** (-(decibels[0] + (decibels[1] - decibels[0]) * random[1]) / 20),
    )
    gain = wanted / level.clamp(min=1e-4)
    return waveforms + added * gain * ((random[2] < share) | silent)


def warp(features: Tensor, stretch: float) -> tuple[Tensor, Tensor]:
    """Scale features [batch, bands, frames] by up to `stretch` along time and half of it along frequency.

    Returns:
        The features, and the factor of time of each, [batch]: what was `n` frames from the middle is `n / factor` from it.
    """
    theta = torch.zeros(len(features), 2, 3, device=features.device)
    theta[:, 0, 0] = 1 + stretch * (2 * torch.rand(len(features)) - 1).to(features)
    theta[:, 1, 1] = 1 + stretch / 2 * (2 * torch.rand(len(features)) - 1).to(features)
    grid = F.affine_grid(theta, [len(features), 1, *features.shape[1:]], align_corners=False)
    warped = F.grid_sample(features[:, None], grid, padding_mode="border", align_corners=False)[:, 0]
    return warped, theta[:, 0, 0]


def mask(features: Tensor, most: int, dim: int) -> Tensor:
    """Set up to `most` neighbouring bands (`dim=1`) or frames (`dim=2`) of each example to zero (SpecAugment)."""
    size = features.shape[dim]
    width = torch.rand(len(features), 1, device=features.device) * most
    start = torch.rand(len(features), 1, device=features.device) * (size - width)
    position = torch.arange(size, device=features.device)
    kept = (position < start) | (position >= start + width)
    return features * kept.unsqueeze(3 - dim)


def equalize(features: Tensor, most: float) -> Tensor:
    """Add a random gain and a random tilt over the bands, of up to `most` each, to normalised features."""
    gain, tilt = most * (2 * torch.rand(2, len(features), 1, 1, device=features.device) - 1)
    slope = torch.linspace(-1, 1, features.shape[1], device=features.device)[:, None]
    equalized: Tensor = features + gain + tilt * slope
    return equalized


def augment_features(features: Tensor, *frames: Tensor, longest: int = 15) -> tuple[Tensor, ...]:
    """Change normalised features [batch, bands, frames] as other speakers, rooms and microphones would.

    Args:
        features: they.
        frames: positions in them, [batch] each; negative ones are none, and stay.
        longest: frames that a mask covers at most.

    Returns:
        The features, and where the positions are now.
    """
    middle = (features.shape[2] - 1) / 2
    features, factor = warp(features, 0.15)
    features = equalize(features, 0.5)
    for dim, most in ((1, 6), (1, 6), (2, longest), (2, longest)):
        features = mask(features, most, dim)
    return features, *(torch.where(at < 0, at, middle + (at - middle) / factor) for at in frames)
