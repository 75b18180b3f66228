"""A front end that takes samples as they come."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from lightning_esp.errors import DataError
from lightning_esp.frontend.config import FeatureConfig
from lightning_esp.frontend.functional import count_frames


class Framewise(Protocol):
    """Makes `[..., bands, frames]` of `[..., samples]`, each frame from its own samples alone."""

    @property
    def config(self) -> FeatureConfig:
        """Length and shift of a frame."""

    def __call__(self, samples: Tensor, /) -> Tensor:
        """Compute the frames that the samples hold."""


class FeatureStream:
    """Turns chunks of samples of any length into the frames that the offline call gives for the whole recording.

    Args:
        front_end: the module whose `forward` computes the frames.

    Example:
        >>> import torch
        >>> from lightning_esp.frontend import LogMel
        >>> stream = LogMel(num_mel_bins=40).stream()
        >>> [stream.push(torch.zeros(1, 200)).shape[-1] for _ in range(4)]
        [0, 1, 1, 1]
    """

    def __init__(self, front_end: Framewise) -> None:
        self._front_end = front_end
        self._pending: Tensor | None = None
        self._skip = 0

    def reset(self) -> None:
        """Forget the samples so far: the next chunk starts a new recording."""
        self._pending = None
        self._skip = 0

    @torch.no_grad()
    def push(self, chunk: Tensor) -> Tensor:
        """Take the next samples and return the frames that they complete.

        Args:
            chunk: `[batch, samples]` (or any leading axes, the same in every chunk), any number of samples.

        Returns:
            `[batch, bands, frames]`; no frame until a whole one is there.

        Raises:
            DataError: the chunk's batch, dtype or device is not that of the chunk before it.
        """
        config = self._front_end.config
        samples = self._join(chunk)
        frames = count_frames(samples.shape[-1], config.frame_samples, config.hop_samples)
        features: Tensor = self._front_end(samples)
        used = frames * config.hop_samples
        # With a shift longer than a frame the next frame may start beyond these samples.
        self._skip += max(0, used - samples.shape[-1])
        self._pending = samples[..., used:].clone()
        return features

    def _join(self, chunk: Tensor) -> Tensor:
        fresh = chunk[..., self._skip :]
        self._skip -= chunk.shape[-1] - fresh.shape[-1]
        if self._pending is None:
            return fresh
        before = self._pending
        if (before.shape[:-1], before.dtype, before.device) != (chunk.shape[:-1], chunk.dtype, chunk.device):
            raise DataError(
                f"FeatureStream.push got a chunk of shape {list(chunk.shape)}, {chunk.dtype} on {chunk.device} after "
                f"one of {[*before.shape[:-1], '*']}, {before.dtype} on {before.device}; call reset() before another "
                "recording."
            )
        return torch.cat([before, fresh], dim=-1)
