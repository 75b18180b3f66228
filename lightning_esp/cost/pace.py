"""Share of the time between two frames that front end and network take: more than all of it loses sound."""

from __future__ import annotations

from math import log2

from lightning_esp.cost.estimate import Estimate

# Megahertz at which ESP-IDF lets them run at most, of the chips that compute floats in software.
SOFT_FLOAT_MHZ = {"esp32c2": 120, "esp32c3": 160, "esp32c5": 240, "esp32c6": 160, "esp32s2": 240}

# Instructions of dl::audio's log-mel for one frame of 512 points, compiled for an ESP32-C3 and counted under qemu: those
# of its float FFT, and the rest (window, powers, bands, logarithms).
FFT_INSTRUCTIONS, OTHER_INSTRUCTIONS, POINTS = 1_055_000, 385_000, 512


def front_end_us(target: str, points: int) -> float | None:
    """Return the least microseconds that a front end takes for one frame; None for a chip that computes floats itself.

    No instruction takes less than a clock, so the figure is a lower bound.

    Args:
        target: the chip.
        points: of the Fourier transform.

    Example:
        >>> front_end_us("esp32c3", 512)
        9000.0
    """
    if target not in SOFT_FLOAT_MHZ:
        return None
    size = points / POINTS
    instructions = FFT_INSTRUCTIONS * size * log2(points) / log2(POINTS) + OTHER_INSTRUCTIONS * size
    return instructions / SOFT_FLOAT_MHZ[target]


def share_of_time(estimate: Estimate, window: int, period_us: float, points: int) -> float | None:
    """Return which part of the time from frame to frame the known costs take; None where no cost is known.

    Args:
        estimate: of the network; on a chip without public figures its time is not known and counts as 0.
        window: frames per window.
        period_us: microseconds from frame to frame.
        points: of the front end's Fourier transform.
    """
    costs = [front_end_us(estimate.target, points), None if estimate.window_us is None else estimate.window_us / window]
    known = [cost for cost in costs if cost is not None]
    return sum(known) / period_us if known else None
