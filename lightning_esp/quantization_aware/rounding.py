"""Rounding and saturation of a chip in torch, with the gradient of what was rounded: a straight-through estimator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_esp.chips import HALF_EVEN_TARGETS


class _Substitute(torch.autograd.Function):
    """Gives one tensor, and its gradient to another."""

    @staticmethod
    def forward(ctx: Any, smooth: Tensor, exact: Tensor) -> Tensor:
        """Return a copy of `exact`."""
        return exact.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Give the gradient to `smooth`."""
        return gradient, None


def substitute(smooth: Tensor, exact: Tensor) -> Tensor:
    """Return `exact` with the gradient of `smooth`, which has its shape.

    `smooth + (exact - smooth).detach()` would be off by the rounding of the sum.
    """
    found: Tensor = _Substitute.apply(smooth, exact.to(smooth.dtype))  # type: ignore[no-untyped-call]
    return found


class _Requantize(torch.autograd.Function):
    """Scales, rounds half up and saturates in one step; keeps one byte for each value."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
        """Return whole numbers."""
        rounded = (values * scale).add_(0.5).floor_()
        ctx.save_for_backward((rounded >= low) & (rounded <= high), scale)
        return rounded.clamp_(low, high)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        """Pass the gradient on where nothing was clipped."""
        inside, scale = ctx.saved_tensors
        return gradient * inside * scale, None, None, None


@dataclass(frozen=True)
class Rounding:
    """Rounding of one family of chips.

    Args:
        half_even: ties go to the even integer, and not up.
    """

    half_even: bool

    def shift(self, values: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
        """Multiply whole numbers by a power of two, round and saturate.

        Args:
            values: whole numbers that their type holds exactly.
            scale: powers of two; a scalar, or what broadcasts against the values.
            low: the smallest integer.
            high: the largest.

        Returns:
            Whole numbers of the same type and shape.
        """
        if self.half_even:
            return torch.fake_quantize_per_tensor_affine(values * scale, 1.0, 0, low, high)
        found: Tensor = _Requantize.apply(values, scale, low, high)  # type: ignore[no-untyped-call]
        return found

    def quantize(self, values: Tensor, low: int, high: int) -> Tensor:
        """Round floats that ESP-DL computes in float32, as `dl::tool::round` does, and saturate.

        Args:
            values: in units of the output's step.
            low: the smallest integer.
            high: the largest.

        Returns:
            Whole numbers of the type of `values`.
        """
        with torch.no_grad():
            exact = self.round(values.detach().float()).clamp_(low, high)
        return substitute(values.clamp(low - 0.5, high + 0.5), exact)

    def round(self, values: Tensor) -> Tensor:
        """Round float32 values as ESP-DL's C code does; see `ChipRules.round`."""
        if not self.half_even:
            return (values.double() + 0.5).float().floor()
        shifted = torch.where(values < 0, values - 0.5, values + 0.5)
        whole = shifted.trunc()
        tie = (shifted - whole).abs() < 1e-6
        odd = whole.remainder(2) != 0
        return torch.where(tie & odd, whole - values.sign(), whole)


def rounding_of(target: str) -> Rounding:
    """Return the rounding of a chip."""
    return Rounding(target in HALF_EVEN_TARGETS)
