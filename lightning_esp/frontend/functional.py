"""The steps from samples to features as pure functions, in the order of ESP-DL's `process_frame`.

Each works on the last axis of a tensor with any leading axes and rounds like its counterpart, so that even the noise
floor of a loud tone comes out alike.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_esp.errors import DataError

# Frames worked on at a time: their intermediate results stay in the processor's cache, which makes a large batch three
# times as fast.
_BLOCK_FRAMES = 400

# Below a handful of rows, matrix libraries switch to kernels that add in another order. Streaming has to equal the
# offline call, so short inputs are filled up to this many rows.
_MIN_ROWS = 8


def convert_samples(waveform: Tensor, dtype: torch.dtype) -> Tensor:
    """Return samples in floating point; int16 samples are divided by 32768.

    Args:
        waveform: `[..., samples]`, floating point in -1 to 1, or int16.
        dtype: floating-point type of the result.

    Raises:
        DataError: the waveform has another type, or no axis.
    """
    if waveform.dim() == 0:
        raise DataError("The waveform is a single number; pass samples as a tensor [batch, samples].")
    if waveform.dtype == torch.int16:
        return waveform.to(dtype) / 32768
    if not waveform.is_floating_point():
        raise DataError(f"The waveform has dtype {waveform.dtype}; pass floating-point samples in -1 to 1, or int16.")
    return waveform.to(dtype)


def count_frames(samples: int, length: int, hop: int) -> int:
    """Return the number of whole frames of `length` samples, `hop` samples apart.

    Example:
        >>> count_frames(16000, length=400, hop=160)
        98
    """
    return max(0, (samples - length) // hop + 1)


def cut_frames(samples: Tensor, length: int, hop: int) -> Tensor:
    """Return the whole frames of `[..., samples]` as `[..., frames, length]`; none if the input is too short."""
    if samples.shape[-1] < length:
        return samples.new_empty((*samples.shape[:-1], 0, length))
    return samples.unfold(-1, length, hop)


def convert_in_blocks(convert: Callable[[Tensor], Tensor], frames: Tensor) -> Tensor:
    """Return `convert(frames)` of `[batch, frames, length]`, computed for a few hundred frames at a time."""
    together = max(1, _BLOCK_FRAMES // max(1, frames.shape[1]))
    rows = [
        torch.cat([convert(part) for part in torch.split(group, _BLOCK_FRAMES, dim=1)], dim=1)
        for group in torch.split(frames, together)
    ]
    return torch.cat(rows)


def emphasize(frames: Tensor, coefficient: float) -> Tensor:
    """Subtract from each sample `coefficient` times the one before it; the first sample counts as its own neighbour."""
    if coefficient <= 1e-7:  # ESP-DL's own limit
        return frames
    weighted = frames * coefficient
    result = frames.clone()
    result[..., 1:] -= weighted[..., :-1]
    result[..., :1] -= weighted[..., :1]
    return result


def compute_log_energy(frames: Tensor, floor: float) -> Tensor:
    """Return log(max(sum of squares, `floor`)) of `[..., samples]` as `[..., 1]`."""
    return frames.square().sum(-1, keepdim=True).clamp_min(floor).log()


def compute_spectrum(frames: Tensor, fft_size: int, use_power: bool) -> Tensor:
    """Return powers or magnitudes of `[..., samples]` as `[..., fft_size / 2 + 1]`."""
    if frames.numel() == 0:
        return frames.new_empty((*frames.shape[:-1], fft_size // 2 + 1))
    spectrum: Tensor = torch.fft.rfft(frames, fft_size)
    if use_power:
        squares = torch.view_as_real(spectrum).square()
        return squares[..., 0] + squares[..., 1]
    return spectrum.abs()


def compress(powers: Tensor, use_log_fbank: int, epsilon: float) -> Tensor:
    """Return the powers themselves (0), log(max(power, `epsilon`)) (1) or log(power + `epsilon`) (2)."""
    if use_log_fbank == 1:
        return powers.clamp_min(epsilon).log()
    if use_log_fbank == 2:
        return (powers + epsilon).log()
    return powers


def project(rows: Tensor, matrix: Tensor) -> Tensor:
    """Return `rows @ matrix`, each row of `[..., size]` with the same result whatever rows come beside it."""
    flat = rows.reshape(-1, rows.shape[-1])
    missing = max(0, _MIN_ROWS - flat.shape[0])
    if missing:
        flat = F.pad(flat, (0, 0, 0, missing))
    product = flat @ matrix
    return product[: product.shape[0] - missing].reshape(*rows.shape[:-1], matrix.shape[-1])
