"""The front end in integers, for chips that compute floats in software: value for value what their firmware computes.

A frame goes through it as 32-bit integers: samples with 13 bits behind the point lose their mean, are emphasized and
windowed; then one shift fills the word as far as the sums of the Fourier transform allow, so that the transform itself
shifts nothing and rounds each product at the same 2^-21 of the loudest sample. Powers are 64-bit integers, and so are
bands; their logarithm is looked up in 128 places of an octave; features have 16 bits behind the point.

Why 32 bits and not 16: a multiplication that keeps the upper word is one instruction on all of these chips, so 16 bits
would save no time, and 90 dB below a tone they would have lost what the logarithm shows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lightning_esp.errors import ConfigurationError, DataError
from lightning_esp.frontend import functional as steps
from lightning_esp.frontend.config import FeatureConfig
from lightning_esp.frontend.features import FrontEnd, LogMel, Mfcc
from lightning_esp.frontend.fixed_point_tables import (
    LOG_BITS,
    Integers,
    Tables,
    logarithm,
    make_tables,
    to_fixed,
    to_saturated,
)
from lightning_esp.frontend.stream import FeatureStream

Words = NDArray[np.uint64]

POINT = 16
"""Bits of a feature behind the point."""

DIFFERENCE_LIMITS = {"Fbank": 0.05, "MFCC": 0.25, "Spectrogram": 0.5}
"""How far features in fixed point may be from those in float32, before mean and scale, by the kind of front end."""

_SAMPLE_BITS = 13
_MAX_SHIFT = 12
_LN2_Q32 = 2977044472
_LEAST_PREEMPHASIS = 214  # 1e-7, as ESP-DL has it
_LARGEST_FFT = 8192
_BLOCK_FRAMES = 400


def _high(a: Integers, b: Integers | int) -> Integers:
    """Return the upper 32 bits of the products, as the instruction MULH does."""
    return cast("Integers", (a * b) >> 32)


class FixedPointFrontEnd(nn.Module):
    """A front end as a chip without a floating-point unit computes it.

    Differences to the float front end, before mean and scale, of 289 recordings of words, speech and noise, and limits, which an
    export checks on the user's recordings:

    | | `LogMel`, 40 bands | `Mfcc`, 13 of 40 bands | `Spectrogram` |
    | --- | --- | --- | --- |
    | mean | 2e-5 | 3.4e-4 | 3e-5 |
    | largest of a recording, median | 6e-4 | 2.3e-3 | 0.012 |
    | largest of all | 0.019 | 0.076 | 0.13 |
    | largest of silence, full scale, tones, noise of one bit | 0.014 | 0.086 | 0.04 |
    | `DIFFERENCE_LIMITS` | 0.05 | 0.25 | 0.5 |

    The largest lie in frames whose loudest and quietest bins are more than 90 dB apart, where float32 is half as far from
    the truth itself.

    Args:
        front_end: what it computes, with mean and scale.

    Raises:
        ConfigurationError: it gives powers instead of logarithms, or a mean or scale is out of range.

    Example:
        >>> import torch
        >>> from lightning_esp.frontend import LogMel
        >>> FixedPointFrontEnd(LogMel(num_mel_bins=40))(torch.zeros(1000, dtype=torch.int16)).shape
        torch.Size([40, 4])
    """

    def __init__(self, front_end: FrontEnd) -> None:
        super().__init__()
        self.float_front_end = front_end
        self.config: FeatureConfig = front_end.config
        if self.config.fft_size > _LARGEST_FFT:
            raise ConfigurationError(
                f"FeatureConfig(frame_length={self.config.frame_length}) takes a Fourier transform of {self.config.fft_size} points; "
                f"in fixed point there are at most {_LARGEST_FFT}: use a shorter frame, or FeatureConfig(arithmetic='float')."
            )
        if self.config.use_log_fbank == 0:
            raise ConfigurationError(
                "FeatureConfig(use_log_fbank=0) gives powers, which have no place in fixed point; use logarithms "
                "(use_log_fbank=1), or FeatureConfig(arithmetic='float')."
            )
        self._tables: Tables = make_tables(self.config)
        self._mean = _fix_mean(front_end.mean)
        self._factors, self._shifts = _split_scale(front_end.scale)

    @property
    def bands(self) -> int:
        """Features in one frame."""
        return self.float_front_end.bands

    @property
    def frame_period(self) -> float:
        """Seconds from one frame to the next."""
        return self.config.frame_period

    def forward(self, waveform: Tensor) -> Tensor:
        """Compute the features of whole recordings.

        Args:
            waveform: `[..., samples]`, int16.

        Returns:
            `[..., bands, frames]`, float32: multiples of 2^-16.

        Raises:
            DataError: the waveform is not int16.
        """
        features = self._normalize(self._compute(waveform)).astype(np.float32) / np.float32(1 << POINT)
        return torch.from_numpy(features).transpose(-1, -2).contiguous()

    def compute_features(self, waveform: Tensor) -> Tensor:
        """Return the features before mean and scale, `[..., frames, bands]`, float32."""
        return torch.from_numpy(self._compute(waveform).astype(np.float32) / np.float32(1 << POINT))

    def stream(self) -> FeatureStream:
        """Return a new stream that turns chunks of int16 samples into the frames of the offline call."""
        return FeatureStream(self)

    def _compute(self, waveform: Tensor) -> Integers:
        if waveform.dtype != torch.int16 or waveform.dim() == 0:
            raise DataError(
                f"the fixed-point front end got a waveform of {waveform.dtype}; it takes samples of 16 bits, as a microphone "
                "gives them: pass int16."
            )
        frames = steps.cut_frames(waveform.cpu(), self.config.frame_samples, self.config.hop_samples).numpy()
        flat = frames.reshape(-1, self.config.frame_samples)
        blocks = [self._convert(flat[at : at + _BLOCK_FRAMES]) for at in range(0, len(flat), _BLOCK_FRAMES)]
        features = np.concatenate([np.zeros((0, self.bands), np.int64), *blocks])
        return cast("Integers", features.reshape(*frames.shape[:-1], self.bands))

    def _convert(self, samples: NDArray[np.int16]) -> Integers:
        """Return `[frames, bands]`, before mean and scale, from `[frames, frame_samples]`."""
        centred = self._center(samples.astype(np.int64))
        windowed = _high(2 * self._emphasize(centred), self._tables.window)
        powers, exponents = self._transform(windowed)
        if self.config.use_power:
            logs = exponents
        else:
            powers, logs = _roots(powers) << np.uint64(16), exponents // 2 + 16
        features = self._project(powers, logs)
        if not self._has_energy:
            return features
        energy = self._measure_energy(centred if self.config.raw_energy else windowed)
        return np.concatenate([energy, features], axis=1)

    @property
    def _has_energy(self) -> bool:
        return self.config.use_energy or not isinstance(self.float_front_end, LogMel | Mfcc)

    def _center(self, samples: Integers) -> Integers:
        scaled = samples << _SAMPLE_BITS
        if not self.config.remove_dc_offset:
            return scaled
        reciprocal = (1 << 32) // self.config.frame_samples
        mean = (samples.sum(1, keepdims=True) * reciprocal) >> (32 - _SAMPLE_BITS)
        return cast("Integers", scaled - mean)

    def _emphasize(self, frames: Integers) -> Integers:
        weight = to_saturated(float(np.float32(self.config.preemphasis)), 31)
        if weight <= _LEAST_PREEMPHASIS:
            return frames
        before = np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
        return frames - _high(2 * before, weight)

    def _measure_energy(self, frames: Integers) -> Integers:
        energy = np.square(frames >> 7).sum(1, keepdims=True).astype(np.uint64)
        return self._compress(energy, np.full_like(energy, 2 * (_SAMPLE_BITS - 7) + 30, np.int64), 1)

    def _transform(self, frames: Integers) -> tuple[Words, Integers]:
        """Return powers `[frames, bins]` and the exponents `[frames, 1]` of their unit, 2^-exponent."""
        size = self.config.fft_size
        largest = np.bitwise_or.reduce(frames ^ (frames >> 63), axis=1, keepdims=True)
        bits = np.frexp(largest.astype(np.float64))[1].astype(np.int64)
        shift = np.minimum(30 - (size.bit_length() - 1) - bits, _MAX_SHIFT)
        filled = np.where(shift >= 0, frames << np.maximum(shift, 0), frames >> np.maximum(-shift, 0))
        padded = np.pad(filled, ((0, 0), (0, size - frames.shape[1])))
        real, imaginary = transform_pairs(padded[:, 0::2], padded[:, 1::2], self._tables.sines)
        return split_powers(real, imaginary, self._tables.sines), 2 * (_SAMPLE_BITS + shift) + 30

    def _project(self, powers: Words, exponents: Integers) -> Integers:
        kind = self.config.use_log_fbank
        if not isinstance(self.float_front_end, LogMel | Mfcc):
            return self._compress(powers[:, 1:], exponents, kind)
        logs = self._compress(self._sum_bands(powers), exponents, kind)
        if isinstance(self.float_front_end, LogMel):
            return logs
        return _clip((logs @ self._tables.transform + (1 << 23)) >> 24)

    def _sum_bands(self, powers: Words) -> Words:
        """Return the bands `[frames, num_mel_bins]`: what a bin does not give to the band above, that below gets."""
        weights = self._tables.rising.astype(np.uint64)
        above = (powers >> np.uint64(32)) * weights + (((powers & np.uint64(0xFFFFFFFF)) * weights) >> np.uint64(32))
        below = powers - above
        starts = self._tables.starts
        bands = [
            above[:, starts[band] : starts[band + 1]].sum(1, dtype=np.uint64)
            + below[:, starts[band + 1] : starts[band + 2]].sum(1, dtype=np.uint64)
            for band in range(self.config.num_mel_bins)
        ]
        return np.stack(bands, axis=1)

    def _compress(self, powers: Words, exponents: Integers, kind: int) -> Integers:
        """Return the logarithm of powers in units of 2^-exponents, with its floor."""
        floor = float(np.float32(self.config.log_epsilon))
        if kind == 2:
            powers, exponents = _add_floor(powers, exponents, floor)
        logs = natural_log(powers, exponents, self._tables.logs)
        least = to_fixed(logarithm(floor), POINT)
        return cast("Integers", np.where(powers == 0, least, np.maximum(logs, least)))

    def _normalize(self, features: Integers) -> Integers:
        products = (features - self._mean) * self._factors
        return _clip((products + (np.int64(1) << (self._shifts - 1))) >> self._shifts)


@torch.no_grad()
def compare_with_float(front_end: FrontEnd, recordings: Iterable[Tensor]) -> list[float]:
    """Return the largest difference of each recording between features in fixed point and in float32, before mean and scale.

    Args:
        front_end: of the training.
        recordings: int16, `[samples]` each.
    """
    fixed_point = FixedPointFrontEnd(front_end)  # once: its tables take longer than a short recording

    def compare(samples: Tensor) -> float:
        fixed = fixed_point.compute_features(samples)
        return float((fixed - front_end.compute_features(samples)).abs().max()) if len(fixed) else 0.0

    return [compare(samples) for samples in recordings]


def transform_pairs(real: Integers, imaginary: Integers, sines: Integers) -> tuple[Integers, Integers]:
    """Return the Fourier transform of complex numbers `[frames, points]`.

    Args:
        real: their real parts, small enough that no sum leaves 30 bits.
        imaginary: the others.
        sines: of twice as many points.
    """
    points = real.shape[1]
    order = np.array([int(f"{i:0{points.bit_length() - 1}b}"[::-1], 2) for i in range(points)])
    re, im = real[:, order], imaginary[:, order]
    half = 1
    while half < points:
        pairs = (len(re), points // (2 * half), 2, half)
        (a_re, b_re), (a_im, b_im) = (np.moveaxis(part.reshape(pairs), 2, 0) for part in (re, im))
        b_re, b_im = _turn(b_re, b_im, half, points, sines)
        re = np.stack([a_re + b_re, a_re - b_re], axis=2).reshape(real.shape)
        im = np.stack([a_im + b_im, a_im - b_im], axis=2).reshape(real.shape)
        half *= 2
    return re, im


def _turn(re: Integers, im: Integers, half: int, points: int, sines: Integers) -> tuple[Integers, Integers]:
    """Multiply by exp(-i pi j / half), j the last axis; quarter turns exactly where there is nothing else."""
    if half == 1:
        return re, im
    if half == 2:
        return np.stack([re[..., 0], im[..., 1]], axis=-1), np.stack([im[..., 0], -re[..., 1]], axis=-1)
    step = np.arange(half) * (points // half)
    cos, sin = sines[step + points // 2], sines[step]
    # Each product is rounded down: half a unit is lost in the mean, and one unit in the sum of two.
    turned_re = _high(2 * re, cos) + _high(2 * im, sin) + 1
    turned_im = _high(2 * im, cos) - _high(2 * re, sin)
    turned_re[..., 0], turned_im[..., 0] = re[..., 0], im[..., 0]
    return turned_re, turned_im


def split_powers(real: Integers, imaginary: Integers, sines: Integers) -> Words:
    """Return the powers `[frames, points + 1]` of real numbers whose pairs were transformed as complex ones."""
    points = real.shape[1]
    bins = np.arange(1, points // 2)
    cos, sin = sines[bins + points // 2], sines[bins]
    re, im, mirrored_re, mirrored_im = (
        real[:, bins],
        imaginary[:, bins],
        real[:, points - bins],
        imaginary[:, points - bins],
    )
    even_re, even_im = (re + mirrored_re) >> 1, (im - mirrored_im) >> 1
    odd_re, odd_im = im + mirrored_im, mirrored_re - re
    turned_re = _high(odd_re, cos) + _high(odd_im, sin) + 1
    turned_im = _high(odd_im, cos) - _high(odd_re, sin)
    powers = np.zeros((len(real), points + 1), np.int64)
    powers[:, 0] = np.square(real[:, 0] + imaginary[:, 0])
    powers[:, points] = np.square(real[:, 0] - imaginary[:, 0])
    powers[:, points // 2] = np.square(real[:, points // 2]) + np.square(imaginary[:, points // 2])
    powers[:, bins] = np.square(even_re + turned_re) + np.square(even_im + turned_im)
    powers[:, points - bins] = np.square(even_re - turned_re) + np.square(even_im - turned_im)
    return powers.astype(np.uint64)


def natural_log(values: Words, exponents: Integers, logs: Integers) -> Integers:
    """Return ln(value 2^-exponent) with 16 bits behind the point; of 0 anything."""
    top = _length(values) - 1
    normal = values << (63 - np.maximum(top, 0)).astype(np.uint64)
    index = ((normal >> np.uint64(63 - LOG_BITS)) & np.uint64((1 << LOG_BITS) - 1)).astype(np.int64)
    fraction = ((normal >> np.uint64(47 - LOG_BITS)) & np.uint64(0xFFFF)).astype(np.int64)
    between = logs[index] + (((logs[index + 1] - logs[index]) * fraction) >> 16)
    return cast("Integers", ((((top - exponents) << 24) + between) * _LN2_Q32 + (1 << 39)) >> 40)


def _length(values: Words) -> Integers:
    """Return the number of bits of each value, 0 of 0."""
    length = np.zeros(values.shape, np.int64)
    rest = values.copy()
    for step in (32, 16, 8, 4, 2, 1):
        large = rest >= np.uint64(1 << step)
        length += np.where(large, step, 0)
        rest = np.where(large, rest >> np.uint64(step), rest)
    return length + (rest > 0)


def _roots(values: Words) -> Words:
    """Return the largest whole numbers whose squares are at most the values."""
    roots = np.sqrt(values.astype(np.float64)).astype(np.uint64)
    roots -= (roots * roots > values).astype(np.uint64)
    roots += ((roots + np.uint64(1)) * (roots + np.uint64(1)) <= values).astype(np.uint64)
    return roots


def _add_floor(powers: Words, exponents: Integers, floor: float) -> tuple[Words, Integers]:
    mantissa, exponent = np.frexp(floor)
    shift = exponents + int(exponent) - 24  # floor = mantissa x 2^shift in units of the powers
    drop = np.maximum(shift - 38, 0)
    whole = np.uint64(int(mantissa * (1 << 24)))
    up, down = np.clip(shift - drop, 0, 38).astype(np.uint64), np.clip(-shift, 0, 63).astype(np.uint64)
    kept = np.where(drop > 63, np.uint64(0), powers >> np.minimum(drop, 63).astype(np.uint64))
    return kept + np.where(shift >= 0, whole << up, whole >> down), exponents - drop


def _clip(values: Integers) -> Integers:
    return np.clip(values, -(1 << 31), (1 << 31) - 1)


def _fix_mean(mean: Tensor) -> Integers:
    values = [float(value) for value in mean]
    if not all(abs(value) < 32768 for value in values):
        raise ConfigurationError(
            f"the front end's mean reaches {max(values, key=abs):g}; in fixed point it must stay below 32768. Call measure(), or "
            "use FeatureConfig(arithmetic='float')."
        )
    return np.array([to_fixed(value, POINT) for value in values], np.int64)


def _split_scale(scale: Tensor) -> tuple[Integers, Integers]:
    """Return factors of 24 bits and shifts, with scale = factor x 2^-shift exactly."""
    values = [float(value) for value in scale]
    if not all(value == 0 or 2.0**-30 <= abs(value) < 2.0**20 for value in values):
        raise ConfigurationError(
            f"the front end's scale reaches from {min(values, key=abs):g} to {max(values, key=abs):g}; in fixed point it must be "
            "0, or from 2^-30 to 2^20. Call measure(), or use FeatureConfig(arithmetic='float')."
        )
    mantissas, exponents = np.frexp(np.array(values))
    return (mantissas * (1 << 24)).astype(np.int64), 24 - exponents.astype(np.int64)
