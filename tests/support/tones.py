"""Tones as keywords, a front end measured on them, and the golden audio of a bundle."""

from __future__ import annotations

import struct

import numpy as np
import torch
from torch import Tensor

from lightning_esp.frontend import LogMel
from tests.models.spotter import BANDS, CLASSES

LABELS = ("a", "b", "c")


def make_waveforms(count: int = 8, samples: int = 4000) -> Tensor:
    """Noise with a tone for each class."""
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(samples) / 16000
    tones = torch.stack([torch.sin(2 * torch.pi * (300 + 900 * (n % CLASSES)) * time) for n in range(count)])
    return 0.2 * tones + 0.01 * torch.randn(count, samples, generator=generator)


def make_front_end() -> LogMel:
    front_end = LogMel(num_mel_bins=BANDS)
    front_end.measure([make_waveforms()])
    return front_end


def read_audio(bundle, target="esp32s3") -> tuple[list[np.ndarray], list[np.ndarray]]:
    data = (bundle.path / f"components/lesp_model/{target}/golden/{bundle.name}_audio.bin").read_bytes()
    assert data[:4] == b"LEA1"
    (count,), offset = struct.unpack_from("<I", data, 4), 8
    samples, features = [], []
    for _ in range(count):
        length, frames, bands = struct.unpack_from("<3I", data, offset)
        samples.append(np.frombuffer(data, "<i2", length, offset + 12))
        offset += 12 + (2 * length + 3) // 4 * 4
        features.append(np.frombuffer(data, "<f4", frames * bands, offset).reshape(frames, bands))
        offset += 4 * frames * bands
    assert offset == len(data)
    return samples, features
