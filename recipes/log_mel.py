"""Log-mel features of waveforms."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchaudio.transforms import MelSpectrogram


class LogMel(nn.Module):
    """Log-mel frames, normalised per band: waveforms [batch, samples] -> [batch, bands, frames].

    Frames of 30 ms every `frame_period` seconds, without padding: a frame needs no sample after its own end.

    Args:
        bands: mel bands between 80 and 7600 Hz.
        frame_period: seconds from frame to frame.
        sample_rate: samples per second.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, bands: int, frame_period: float = 0.01, sample_rate: int = 16_000) -> None:
        super().__init__()
        self.frame_period = frame_period
        sizes = {"n_fft": 512, "win_length": round(0.03 * sample_rate), "hop_length": round(frame_period * sample_rate)}
        self.mel = MelSpectrogram(sample_rate, n_mels=bands, f_min=80, f_max=7600, center=False, **sizes)
        self.register_buffer("mean", torch.zeros(bands, 1))
        self.register_buffer("scale", torch.ones(bands, 1))

    def forward(self, waveforms: Tensor) -> Tensor:
        """Features of waveforms in the range -1 to 1."""
        return (torch.log(self.mel(waveforms) + 1e-5) - self.mean) * self.scale

    @torch.no_grad()
    def measure(self, waveforms: Tensor) -> None:
        """Set mean and scale so that the frames of `waveforms` have mean 0 and deviation 1 in every band."""
        frames = torch.log(self.mel(waveforms) + 1e-5)
        self.mean.copy_(frames.mean((0, 2))[:, None])
        self.scale.copy_(1 / frames.std((0, 2))[:, None])
