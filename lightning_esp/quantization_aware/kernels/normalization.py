"""Layer norm and softmax, in the float32 of ESP-DL's C code."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_esp.espdl import Node, newton_root, positive_axis, sum_in_order
from lightning_esp.quantization_aware.kernels.common import Builders, Kernel, limits, power, rounding
from lightning_esp.quantization_aware.rounding import substitute


def _sum_in_order(values: Tensor) -> Tensor:
    """Sum the last axis from left to right, as a C loop does."""
    return torch.from_numpy(sum_in_order(values.cpu().numpy())).to(values.device)


def build_layer_norm(node: Node) -> Kernel:
    """Build a layer norm over the trailing axes: exact forward, the gradient of torch's."""
    axis = positive_axis(int(node.attribute("axis", -1)), len(node.input(0).shape))
    epsilon, scale = float(node.attribute("epsilon", 1e-5)), power(node.exponent(node.input(0)))
    gains = [power(node.exponent(tensor)) if tensor is not None else 1.0 for tensor in (*node.inputs[1:], None, None)]
    rescale, (low, high), chip = power(-node.exponent(node.output)), limits(node), rounding(node)

    def exact(values: Tensor, gain: Tensor | None, offset: Tensor | None) -> Tensor:
        rows = values.detach().float().flatten(axis)
        mean = (rows.double().sum(-1, keepdim=True) / rows.shape[-1]).float()
        deviation = rows - mean
        variance = _sum_in_order(deviation * deviation) * (scale * scale) / rows.shape[-1]
        root = torch.from_numpy(newton_root((variance + epsilon).cpu().numpy())).to(rows.device)
        normal = (rows * scale - mean * scale) * (1 / root)
        found = normal * (1.0 if gain is None else gain.detach().float())
        return ((found + (0.0 if offset is None else offset.detach().float())) * rescale).reshape(values.shape)

    def run(values: Sequence[Tensor]) -> tuple[Tensor, ...]:
        affine = [
            values[index].reshape(-1) * gains[index - 1] if len(values) > index and values[index].numel() else None
            for index in (1, 2)
        ]
        rows = values[0].flatten(axis) * scale
        smooth = F.layer_norm(rows, rows.shape[-1:], affine[0], affine[1], epsilon).reshape(values[0].shape) * rescale
        with torch.no_grad():
            rounded = chip.round(exact(values[0], *affine)).clamp(low, high)
        return (substitute(smooth.clamp(low - 0.5, high + 0.5), rounded),)

    return run


def build_softmax(node: Node) -> Kernel:
    """Build a softmax with float32 output; the exponentials of int8 inputs have no maximum taken off."""
    axis = positive_axis(int(node.attribute("axis", -1)), len(node.input(0).shape))
    scale = power(node.exponent(node.input(0))) if node.input(0).dtype.kind == "i" else 1.0
    is_int8 = node.attribute("quant_type", "S8") == "S8"

    def run(values: Sequence[Tensor]) -> tuple[Tensor, ...]:
        floats = values[0] * scale
        with torch.no_grad():
            rows = floats.detach().float().movedim(axis, -1)
            powers = (rows if is_int8 else rows - rows.amax(-1, keepdim=True)).double().exp().float()
            found = (powers / _sum_in_order(powers)).movedim(-1, axis)
        return (substitute(floats.softmax(axis), found),)

    return run


BUILDERS: Builders = {"LayerNormalization": build_layer_norm, "Softmax": build_softmax}
