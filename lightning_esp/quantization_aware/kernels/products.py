"""Conv, Gemm and MatMul: a product sum, a bias, one rounded shift, an optional ReLU, saturation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_esp.espdl import Node, attribute_ints
from lightning_esp.quantization_aware.kernels.common import Builders, Kernel, along, limits, rounding

_CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d}


def _tail(node: Node, channels: int) -> Callable[[Tensor, Sequence[Tensor], tuple[int, ...]], Tensor]:
    """Make the steps behind the product sum; the last argument is the shape that channels have in the sums."""
    exponents = np.asarray(node.input(1).exponent) + node.exponent(node.input(0)) - node.exponent(node.output)
    scales = np.ldexp(1.0, np.broadcast_to(exponents, (channels,)))
    low, high = limits(node)
    # What a ReLU takes away has no gradient, as behind a saturation.
    low = 0 if node.attribute("activation", "Linear") == "Relu" else low
    chip = rounding(node)

    def finish(sums: Tensor, values: Sequence[Tensor], shape: tuple[int, ...]) -> Tensor:
        if len(values) > 2 and values[2].numel():
            sums = sums + values[2].reshape(shape)
        return chip.shift(sums, along(scales, sums).reshape(shape), low, high)

    return finish


def build_conv(node: Node) -> Kernel:
    """Build a convolution; input `[windows, 1, *space, in]`, filter `[1, out, in / groups, *kernel]`."""
    weight = node.parameter(1)
    space = weight.ndim - 2
    strides = attribute_ints(node.attribute("strides", (1,) * space))
    dilations = attribute_ints(node.attribute("dilations", (1,) * space))
    pads = attribute_ints(node.attribute("pads", (0,) * 2 * space))
    around = [pads[axis + end * space] for axis in reversed(range(space)) for end in (0, 1)]
    groups = int(node.attribute("group", 1))
    tail = _tail(node, weight.shape[0])

    def run(values: Sequence[Tensor]) -> tuple[Tensor, ...]:
        frames = values[0].squeeze(1).movedim(-1, 1)
        frames = F.pad(frames, around) if any(around) else frames
        sums = _CONVOLUTIONS[space](frames, values[1][0], None, strides, 0, dilations, groups)
        return (tail(sums, values, (1, -1, *[1] * space)).movedim(1, -1).unsqueeze(1),)

    return run


def build_product(node: Node) -> Kernel:
    """Build a product with a matrix of the file, `[1, in, out]` or more axes in front."""
    if node.input(1).data is None:
        raise node.refuse("it multiplies two activations, which training cannot compute as the chip does yet")
    tail = _tail(node, node.parameter(1).shape[-1])

    def run(values: Sequence[Tensor]) -> tuple[Tensor, ...]:
        matrix = values[1][0] if values[1].ndim == 3 else values[1]
        sums = torch.matmul(values[0], matrix)
        return (tail(sums, values, (-1,)),)

    return run


BUILDERS: Builders = {"Conv": build_conv, "Gemm": build_product, "MatMul": build_product}
