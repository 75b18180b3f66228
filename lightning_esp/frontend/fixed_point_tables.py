"""Constants of the fixed-point front end: integers that `fixed_point_tables.cpp` of the firmware makes alike, to the bit.

Both sides compute them in double precision from additions, products and quotients alone, in the same order, which IEEE
754 rounds the same everywhere; the functions of a C library it does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightning_esp.frontend.config import FeatureConfig

Integers = NDArray[np.int64]

LOG_BITS = 7
"""Logarithms are interpolated between 2^7 places of an octave: at most 1.1e-5 off in base 2."""

_TWO_PI, _LN2 = 6.283185307179586, 0.6931471805599453
_SQRT2, _SQRT_HALF = 1.4142135623730951, 0.7071067811865476


def sine(turns: float) -> float:
    """Return sin(2 pi `turns`)."""
    x = (turns - math.floor(turns + 0.5)) * _TWO_PI
    square, term, total = x * x, x, x
    for n in range(1, 15):
        term = -term * square / ((2 * n) * (2 * n + 1))
        total += term
    return total


def cosine(turns: float) -> float:
    """Return cos(2 pi `turns`)."""
    return sine(turns + 0.25)


def logarithm(x: float) -> float:
    """Return ln(`x`) of a positive number."""
    exponent = 0
    while x > _SQRT2:
        x, exponent = x * 0.5, exponent + 1
    while x < _SQRT_HALF:
        x, exponent = x * 2.0, exponent - 1
    z = (x - 1.0) / (x + 1.0)
    square, power, total = z * z, z, z
    for n in range(1, 12):
        power *= square
        total += power / (2 * n + 1)
    return 2.0 * total + exponent * _LN2


def exponential(x: float) -> float:
    """Return e^`x` of a number of at most 0."""
    exponent = math.floor(x / _LN2 + 0.5)
    rest, term, total = x - exponent * _LN2, 1.0, 1.0
    for n in range(1, 15):
        term = term * rest / n
        total += term
    while exponent < 0:
        total, exponent = total * 0.5, exponent + 1
    return total


def to_fixed(x: float, bits: int) -> int:
    """Return `x` in units of 2^-`bits`, rounded to the nearest."""
    return math.floor(x * float(1 << bits) + 0.5)


def to_saturated(x: float, bits: int) -> int:
    """Return `x` in units of 2^-`bits`, rounded to the nearest, at most 1 - 2^-`bits`."""
    return min(to_fixed(x, bits), (1 << bits) - 1)


def _shape(config: FeatureConfig, index: int) -> float:
    """Return the window function at one sample."""
    turn = index / (config.frame_samples - 1)
    if config.window_type == "hann":
        return 0.5 - 0.5 * cosine(index / config.frame_samples)
    if config.window_type == "sine":
        return sine(0.5 * turn)
    if config.window_type == "hamming":
        return 0.54 - 0.46 * cosine(turn)
    if config.window_type == "blackman":
        return 0.42 - 0.5 * cosine(turn) + 0.08 * cosine(2.0 * turn)
    if config.window_type == "rectangular":
        return 1.0
    hanning = 0.5 - 0.5 * cosine(turn)
    if config.window_type == "povey":
        return exponential(0.85 * logarithm(hanning)) if hanning > 1e-12 else 0.0
    return hanning


def _to_mel(hertz: float) -> float:
    return 1127.0 * logarithm(1.0 + hertz / 700.0)


@dataclass(frozen=True)
class Tables:
    """All constants of a front end.

    Args:
        window: of a frame, Q31, `[frame_samples]`.
        sines: sin(2 pi k / fft_size), Q31, `[3 fft_size / 4]`.
        starts: the first bin at or above each edge of the mel bands, `[num_mel_bins + 2]`.
        rising: how far each bin lies between the edges around it, Q32, `[fft_size / 2 + 1]`.
        transform: cosine transform and lifter, Q24, `[num_mel_bins, num_ceps]`.
        logs: log2(1 + i / 2^LOG_BITS), Q24.
    """

    window: Integers
    sines: Integers
    starts: Integers
    rising: Integers
    transform: Integers
    logs: Integers


def make_tables(config: FeatureConfig) -> Tables:
    """Compute the constants of a front end."""
    points, steps = config.fft_size, 1 << LOG_BITS
    starts, rising = _place_bins(config)
    return Tables(
        window=_array([to_saturated(_shape(config, i), 31) for i in range(config.frame_samples)]),
        sines=_array([to_saturated(sine(k / points), 31) for k in range(3 * points // 4)]),
        starts=starts,
        rising=rising,
        transform=_transform(config),
        logs=_array([to_fixed(logarithm(1.0 + i / steps) / _LN2, 24) for i in range(steps + 1)]),
    )


def _place_bins(config: FeatureConfig) -> tuple[Integers, Integers]:
    low = _to_mel(float(config.low_freq))
    high = _to_mel(float(config.high_freq or config.sample_rate // 2))
    step = (high - low) / (config.num_mel_bins + 1)
    bins = config.fft_size // 2
    places = [(_to_mel(float(k) * config.sample_rate / config.fft_size) - low) / step for k in range(bins + 1)]
    starts, rising = [], [0] * (bins + 1)
    k = 1  # ESP-DL leaves bin 0 out
    for edge in range(config.num_mel_bins + 2):
        while k <= bins and places[k] < edge:
            rising[k] = to_saturated(max(places[k] - (edge - 1), 0.0), 32)
            k += 1
        starts.append(k)
    return _array(starts), _array(rising)


def _transform(config: FeatureConfig) -> Integers:
    rows = [[_weigh(config, band, order) for order in range(config.num_ceps)] for band in range(config.num_mel_bins)]
    return _array(rows)


def _weigh(config: FeatureConfig, band: int, order: int) -> int:
    scale = math.sqrt((1.0 if order == 0 else 2.0) / config.num_mel_bins)
    angle = cosine((2 * band + 1) * order / (4.0 * config.num_mel_bins))
    lift = float(np.float32(config.cepstral_lifter))
    lifter = 1.0 if lift == 0 else 1.0 + 0.5 * lift * sine(0.5 * order / lift)
    return to_fixed(scale * angle * lifter, 24)


def _array(values: list[int] | list[list[int]]) -> Integers:
    return np.array(values, dtype=np.int64)
