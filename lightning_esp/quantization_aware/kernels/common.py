"""Parts that the kernels of all operators share.

Every tensor is a float tensor of whole numbers, the integers of the chip, `[windows, *shape in the file]`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from lightning_esp.espdl import Node
from lightning_esp.quantization_aware.rounding import Rounding, rounding_of

Kernel = Callable[[Sequence[Tensor]], tuple[Tensor, ...]]
Builder = Callable[[Node], Kernel]
Builders = Mapping[str, Builder]


def limits(node: Node, index: int = 0) -> tuple[int, int]:
    """Return the smallest and largest integer of an output."""
    tensor = node.outputs[index]
    assert tensor is not None
    found = np.iinfo(tensor.dtype)
    return int(found.min), int(found.max)


def rounding(node: Node) -> Rounding:
    """Return the rounding of the operator's chip."""
    return rounding_of(node.rules.target)


def single(function: Callable[[Tensor], Tensor]) -> Kernel:
    """Make a kernel with one input and one output."""
    return lambda values: (function(values[0]),)


def same_rank(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Give two tensors one rank: windows first, then the file's shape, filled up from the left."""
    rank = max(first.ndim, second.ndim)

    def widen(tensor: Tensor) -> Tensor:
        return tensor.reshape(tensor.shape[0], *(1,) * (rank - tensor.ndim), *tensor.shape[1:])

    return widen(first), widen(second)


def power(exponent: int) -> float:
    """Return 2^exponent, which every float type holds."""
    return float(np.ldexp(1.0, exponent))


def factor(node: Node, tensor_index: int = 0) -> float:
    """Return the steps of the output for one step of an input."""
    return power(node.exponent(node.input(tensor_index)) - node.exponent(node.output))


def along(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]], like: Tensor) -> Tensor:
    """Return an array as a tensor of the type and on the device of another one."""
    return torch.from_numpy(values).to(like)
