"""Share of the time between two frames that front end and network take: more than all of it loses sound."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import log2

from lightning_esp.chips import SOFT_FLOAT_TARGETS
from lightning_esp.cost.chip import MEGAHERTZ, read_figures, read_rows
from lightning_esp.cost.estimate import Estimate

POINTS = 512


@dataclass(frozen=True)
class FrontEndLoad:
    """Work of a front end for one frame.

    Args:
        points: of the Fourier transform.
        values: whose logarithm is taken: bands or bins; cepstral coefficients count beside their bands.
        arithmetic: `"float"` or `"fixed_point"`.
    """

    points: int
    values: int
    arithmetic: str = "float"


@cache
def _read() -> dict[tuple[str, str], tuple[float, float]]:
    rows = read_rows("front_ends.csv")
    return {(row["name"], row["arithmetic"]): (float(row["transform"]), float(row["value"])) for row in rows}


def front_end_us(target: str, load: FrontEndLoad) -> float:
    """Return the microseconds that a front end takes for one frame.

    On a chip without a floating-point unit, and in fixed point on each, they are instructions at one a clock, counted for
    rv32imc: a lower bound. In float32 on the others they are those of an ESP32-S3, in the ratio of the clocks.

    Args:
        target: the chip.
        load: what it computes.

    Example:
        >>> front_end_us("esp32c3", FrontEndLoad(512, 40, "float"))
        9000.0
        >>> round(front_end_us("esp32c3", FrontEndLoad(512, 40, "fixed_point")))
        425
    """
    if target in SOFT_FLOAT_TARGETS or load.arithmetic == "fixed_point":
        transform, value = (amount / MEGAHERTZ[target] for amount in _read()["rv32imc", load.arithmetic])
    else:
        ratio = MEGAHERTZ["esp32s3"] / MEGAHERTZ[target]
        transform, value = (amount * ratio for amount in _read()["esp32s3", "float"])
    return transform * load.points * log2(load.points) / (POINTS * log2(POINTS)) + value * load.values


def network_us(estimate: Estimate) -> float:
    """Return the microseconds that a network takes for a window.

    For a chip without public times they are instructions at one a clock: so many for each multiplication, those of the one
    network whose instructions were counted, on a chip without vector instructions.

    Args:
        estimate: of the network.
    """
    if estimate.window_us is not None:
        return estimate.window_us
    counted = [(figure.instructions, figure.work) for figure in read_figures() if figure.instructions is not None]
    per_lane = sum(count for count, _ in counted) / sum(work.dense + work.depthwise for _, work in counted)
    lanes = sum(layer.work.dense + layer.work.depthwise for layer in estimate.layers)
    return per_lane * lanes / MEGAHERTZ[estimate.target]


def share_of_time(estimate: Estimate, window: int, period_us: float, load: FrontEndLoad) -> float:
    """Return which part of the time from frame to frame front end and network take.

    Args:
        estimate: of the network.
        window: frames per window.
        period_us: microseconds from frame to frame.
        load: of the front end.
    """
    return (front_end_us(estimate.target, load) + network_us(estimate) / window) / period_us
