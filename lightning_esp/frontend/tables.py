"""Windows, mel filters and cosine transforms of ESP-DL 3.3.9 (`dl_audio_common.cpp`, `dl_mfcc.cpp`), in float32.

The mel filters round where ESP-DL rounds, `logf` being taken as correctly rounded, because a band's first and last
bin hang on it.
"""

from __future__ import annotations

import math
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_esp.errors import ConfigurationError
from lightning_esp.frontend.config import FeatureConfig

Table = NDArray[np.float32]


def compute_window(config: FeatureConfig) -> Tensor:
    """Return the window function of a frame, `[frame_samples]`.

    It comes from torch's float32 functions, as in torchaudio, and differs from ESP-DL's by at most 4e-7, less than
    ESP-DL's Fourier transform rounds (see `FrontEnd`).
    """
    length = config.frame_samples
    angle = torch.arange(length, dtype=torch.float32) * (2.0 * math.pi / (length - 1))
    if config.window_type == "hanning":
        return torch.hann_window(length, periodic=False)
    if config.window_type == "hann":
        return torch.hann_window(length, periodic=True)
    if config.window_type == "sine":
        return torch.sin(0.5 * angle)
    if config.window_type == "hamming":
        return torch.hamming_window(length, periodic=False, alpha=0.54, beta=0.46)
    if config.window_type == "povey":
        return torch.hann_window(length, periodic=False).pow(0.85)
    if config.window_type == "blackman":
        return 0.42 - 0.5 * torch.cos(angle) + 0.08 * torch.cos(2.0 * angle)
    return torch.ones(length)


def compute_mel_filters(config: FeatureConfig) -> Tensor:
    """Return the triangular mel filters as a matrix, `[fft_size / 2 + 1, num_mel_bins]`.

    Raises:
        ConfigurationError: the band edges are out of order, or ESP-DL would lose the last band.
    """
    low, high = _find_edges(config)
    bins = _convert_to_mel(_list_frequencies(config))
    for fused in (False, True):
        # ESP-DL ends a band before the first bin at or above its upper edge. Without such a bin the end stays -1
        # and the length of the dot product turns negative: silence on some chips, a wild read on others.
        edges = _place_edges(low, high, config.num_mel_bins, fused)
        if not bins[-1] >= edges[-1]:
            raise ConfigurationError(_describe_lost_band(config))
    edges = _place_edges(low, high, config.num_mel_bins, fused=False)
    centres = edges[1:-1]
    if not (np.diff(edges) > 0).all():
        raise ConfigurationError(
            f"FeatureConfig(num_mel_bins={config.num_mel_bins}) leaves bands of no width between {low} and {high} Hz; "
            "use fewer bands or a wider range."
        )
    rising = (bins[:, None] - edges[:-2]) / (centres - edges[:-2])
    falling = (edges[2:] - bins[:, None]) / (edges[2:] - centres)
    filters = np.maximum(np.minimum(rising, falling), np.float32(0))
    filters[0] = 0  # ESP-DL starts at bin 1
    return torch.from_numpy(filters)


def compute_cosine_transform(num_ceps: int, num_mel_bins: int) -> Tensor:
    """Return the orthonormal cosine transform of log band powers, `[num_mel_bins, num_ceps]`."""
    band, order = np.arange(num_mel_bins)[:, None], np.arange(num_ceps)
    scale = np.sqrt(np.where(order == 0, 1.0, 2.0).astype(np.float32) / np.float32(num_mel_bins))
    return torch.from_numpy((scale * np.cos(np.pi / num_mel_bins * (band + 0.5) * order)).astype(np.float32))


def compute_lifter(cepstral_lifter: float, num_ceps: int) -> Tensor:
    """Return the scale of each cepstral coefficient, `[num_ceps]`."""
    if cepstral_lifter == 0:
        return torch.ones(num_ceps)
    order = np.arange(num_ceps)
    return torch.from_numpy((1.0 + 0.5 * cepstral_lifter * np.sin(np.pi * order / cepstral_lifter)).astype(np.float32))


def _find_edges(config: FeatureConfig) -> tuple[int, int]:
    low, high = int(config.low_freq), int(config.high_freq) or config.sample_rate // 2
    if high <= low:
        raise ConfigurationError(
            f"FeatureConfig(low_freq={config.low_freq}, high_freq={config.high_freq}): the upper edge of the mel bands "
            f"must lie above the lower one at {config.sample_rate} samples a second; lower low_freq or raise high_freq."
        )
    return low, high


def _list_frequencies(config: FeatureConfig) -> Table:
    bins = config.fft_size // 2
    return np.arange(bins + 1, dtype=np.float32) * np.float32(config.sample_rate / 2) / np.float32(bins)


def _convert_to_mel(hertz: Table) -> Table:
    ratio = (1.0 + hertz.astype(np.float64) / 700.0).astype(np.float32)
    logarithm = np.log(ratio.astype(np.float64)).astype(np.float32)
    return cast("Table", np.float32(1127.0) * logarithm)


def _place_edges(low: int, high: int, num_mel_bins: int, fused: bool) -> Table:
    """Return the `num_mel_bins + 2` edges in mel, with the multiply-add rounded twice, or once (fused).

    Compilers fuse it for the chips whose float unit has the instruction, and do not for the others.
    """
    low_mel, high_mel = _convert_to_mel(np.array([low, high], np.float32))
    step = (high_mel - low_mel) / np.float32(num_mel_bins + 1)
    index = np.arange(num_mel_bins + 2, dtype=np.float32)
    if fused:
        # Exact in float64, so that the only rounding is the last one.
        return cast(
            "Table",
            (step.astype(np.float64) * index.astype(np.float64) + low_mel.astype(np.float64)).astype(np.float32),
        )
    return cast("Table", step * index + low_mel)


def _describe_lost_band(config: FeatureConfig) -> str:
    nyquist = config.sample_rate // 2
    return (
        f"FeatureConfig(num_mel_bins={config.num_mel_bins}, low_freq={config.low_freq}, "
        f"high_freq={config.high_freq}, sample_rate={config.sample_rate}) would make ESP-DL lose its last band: in "
        "float32 the upper edge of that band comes out above the last bin of the Fourier transform. "
        f"Set high_freq to {nyquist - 1} or less."
    )
