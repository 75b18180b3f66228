"""Rounding and saturation as ESP-DL's plain-C code does them, per family of chips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lightning_esp.chips import HALF_EVEN_TARGETS, check_target
from lightning_esp.espdl.espdl_model import Array

# Their kernels take 16 int8 or 8 int16 output channels at a time.
_VECTOR_TARGETS = ("esp32s3", *HALF_EVEN_TARGETS)
# The S3's vector unit accumulates an int8 product sum in 20 bits and an int16 one in 40; the others have 32 or more.
_NARROW_ACCUMULATORS = {"esp32s3": {1: 20, 2: 40}}


@dataclass(frozen=True)
class ChipRules:
    """Differences between the families of chips.

    Attributes:
        target: The chip.
        half_even: Whether ties round to even (P4, S31) instead of up.
        tie_margin: What `quantize_sums` takes for a tie, as a share of a step.
    """

    target: str
    half_even: bool
    tie_margin: float = 0.0

    def accumulator_limit(self, dtype: np.dtype[Any]) -> int | None:
        """Return the first magnitude that a convolution's accumulator can't hold, or None where it never matters."""
        bits = _NARROW_ACCUMULATORS.get(self.target, {}).get(dtype.itemsize)
        return None if bits is None else 1 << (bits - 1)

    def packing(self, dtype: np.dtype[Any]) -> str:
        """Return the layout in which the chip's matrix kernels read a weight of this type, as `unpack_matrix` names it."""
        lanes = self.lanes(dtype)
        return "NHWC" if lanes is None else f"(N/{lanes})HWC{lanes}"

    def lanes(self, dtype: np.dtype[Any]) -> int | None:
        """Return how many output channels the chip's matrix kernels take at a time; None for one after the other."""
        return 16 // dtype.itemsize if self.target in _VECTOR_TARGETS else None

    def round(self, values: Array) -> Array:
        """Round floats to integers as `dl::tool::round` does in C, in the precision of the argument.

        The half-up form adds 0.5 in double and rounds the sum to float32 before the floor; the half-even form calls
        everything within 1e-6 behind a tie a tie. Both are kept, for they decide single values of int16 tensors.

        Args:
            values: float32 array of any shape.

        Returns:
            Array of whole numbers of the argument's type.
        """
        if not self.half_even:
            shifted = values.astype(np.float64)
            shifted += 0.5
            rounded = shifted.astype(values.dtype)
            return np.asarray(np.floor(rounded, out=rounded))
        half = values.dtype.type(0.5)
        shifted = np.where(values < 0, values - half, values + half)
        whole = np.trunc(shifted)
        tie = np.abs(shifted - whole) < 1e-6
        odd = np.mod(whole, 2) != 0
        return np.asarray(np.where(tie & odd, whole - np.copysign(values.dtype.type(1), values), whole))

    def quantize(self, values: Array, dtype: np.dtype[Any]) -> Array:
        """Round floats and saturate them to an integer type.

        Args:
            values: float32 array in units of the output's step.
            dtype: int8 or int16.

        Returns:
            Array of `dtype`, same shape.
        """
        return saturate(self.round(values), dtype)

    def round_sums(self, values: Array) -> Array:
        """Round sums of float32 products, whose last bit depends on whether the compiler fuses multiply and add.

        With a `tie_margin`, every value this near to a tie goes to the other side of it.
        """
        rounded = self.round(values)
        if not self.tie_margin:
            return rounded
        beyond = values - rounded
        # In int16 the last bits of a large float32 are more than the margin.
        near = np.abs(beyond) >= 0.5 - self.tie_margin - 8 * np.spacing(np.abs(values))
        return np.asarray(np.where(near, rounded + np.where(beyond < 0, -1, 1).astype(values.dtype), rounded))

    def quantize_sums(self, values: Array, dtype: np.dtype[Any]) -> Array:
        """Round as `round_sums` does, and saturate."""
        return saturate(self.round_sums(values), dtype)

    def shift(self, values: Array, shift: Array | int) -> Array:
        """Divide whole numbers, held as floats that represent them exactly, by 2^shift, and round.

        Args:
            values: float array of whole numbers.
            shift: How many binary places to drop, 0 or more; a scalar or one that broadcasts.

        Returns:
            float array of whole numbers, same shape.
        """
        factor = np.ldexp(values.dtype.type(1), -np.asarray(shift))
        scaled = values * factor
        if self.half_even:
            return np.asarray(np.rint(scaled, out=scaled))
        scaled += values.dtype.type(0.5)
        return np.asarray(np.floor(scaled, out=scaled))


def chip_rules(target: str) -> ChipRules:
    """Return the rules of a chip.

    Args:
        target: One of `lightning_esp.chips.TARGETS`.

    Raises:
        UnknownTargetError: ESP-DL does not know the chip.
    """
    return ChipRules(check_target(target), half_even=target in HALF_EVEN_TARGETS)


def saturate(values: Array, dtype: np.dtype[Any]) -> Array:
    """Clip whole numbers to the range of an integer type and convert them.

    Args:
        values: Array of whole numbers, integer or float.
        dtype: int8 or int16.

    Returns:
        Array of `dtype`, same shape.
    """
    limits = np.iinfo(dtype)
    return np.clip(values, limits.min, limits.max).astype(dtype)


def power_of_two(exponent: int) -> np.float32:
    """Return 2^exponent as float32."""
    return np.float32(np.ldexp(1.0, exponent))
