"""Initial padding of a stream, in float64: a float32 value would show in the float64 proof."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

Anything = TypeVar("Anything")


class Offset(nn.Module):
    """Adds a constant, rounded to the type of what it is added to.

    Args:
        value: the constant, in float64.
        label: tells it from the others of its layer.
    """

    def __init__(self, value: Tensor, label: str) -> None:
        super().__init__()
        self.label = label
        # No buffer, since `float()` would round it for good.
        self.values = {dtype: value.to(dtype) for dtype in (torch.float32, torch.float64)}

    def forward(self, x: Tensor) -> Tensor:
        """Add."""
        return x + self.values[x.dtype]

    def extra_repr(self) -> str:
        """Two offsets of one layer must not be taken for one."""
        return self.label


def in_float64(value: Anything) -> Anything:
    """A tensor or module in float64, as a copy; anything else as it is."""
    if isinstance(value, nn.Module):
        return copy.deepcopy(value).double()
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.double()  # type: ignore[return-value]
    return value
