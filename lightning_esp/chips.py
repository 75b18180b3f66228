"""The chips that ESP-DL supports, and in which they differ beyond speed and memory (`cost/chip.py` has these)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_esp.errors import UnknownTargetError

TARGETS: tuple[str, ...] = (
    "esp32s3",
    "esp32p4",
    "esp32s31",
    "esp32",
    "esp32s2",
    "esp32c2",
    "esp32c3",
    "esp32c5",
    "esp32c6",
)

# ESP-DL rounds halves to even on these chips (2.5 to 2), and up on every other.
HALF_EVEN_TARGETS = ("esp32p4", "esp32s31")

# They compute floats in software, which takes some fifty instructions for each.
SOFT_FLOAT_TARGETS = ("esp32c2", "esp32c3", "esp32c5", "esp32c6", "esp32s2")

# How features are computed: by `dl::audio` in float32, or by `lesp::audio::FixedPointFeatures` in integers.
ARITHMETICS = ("float", "fixed_point")


def check_target(target: str) -> str:
    """Return `target` if ESP-DL supports that chip.

    Raises:
        UnknownTargetError: the name is not one of `TARGETS`.
    """
    if target not in TARGETS:
        raise UnknownTargetError(
            f"target={target!r} is not a chip that ESP-DL supports; use one of {', '.join(TARGETS)}."
        )
    return target


def choose_arithmetic(config: Mapping[str, Any], target: str) -> str:
    """Return how a chip computes features: `"float"` or `"fixed_point"`.

    Args:
        config: the fields of a `FeatureConfig`; without the field `arithmetic`, of an older export: `"float"`.
        target: the chip; for `"auto"` it decides.
    """
    wanted = str(config.get("arithmetic", "float"))
    if wanted != "auto":
        return wanted
    # Powers without a logarithm span more than integers hold.
    return "fixed_point" if target in SOFT_FLOAT_TARGETS and config["use_log_fbank"] > 0 else "float"
