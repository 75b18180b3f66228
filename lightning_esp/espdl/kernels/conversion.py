"""QuantizeLinear, DequantizeLinear and RequantizeLinear: ESP-DL's `TensorBase::assign`."""

from __future__ import annotations

import numpy as np

from lightning_esp.espdl.arithmetic import saturate
from lightning_esp.espdl.kernels.node import Kernel, KernelTable, Node, elementwise, tabulated

_INTEGERS = ("int8", "int16")


def build_assign(node: Node) -> Kernel:
    """Build a conversion from the input's type and exponent to the output's."""
    source, target = node.input(0), node.output
    if source.dtype == target.dtype and source.exponent == target.exponent:
        return elementwise(lambda values: values)
    if source.dtype == np.float32 and str(target.dtype) in _INTEGERS:
        rescale = node.rescale(target)
        return elementwise(lambda values: node.rules.quantize(values * rescale, target.dtype))
    if str(source.dtype) not in _INTEGERS:
        raise node.refuse(f"ESP-DL does not convert {source.dtype} to {target.dtype}")
    scale = node.scale(source)
    if target.dtype == np.float32:
        return tabulated(node, lambda values: values.astype(np.float32) * scale)
    if str(target.dtype) not in _INTEGERS:
        raise node.refuse(f"ESP-DL does not convert {source.dtype} to {target.dtype}")
    if source.exponent == target.exponent:
        return tabulated(node, lambda values: saturate(values, target.dtype))
    factor = scale * node.rescale(target)
    return tabulated(node, lambda values: node.rules.quantize(values.astype(np.float32) * factor, target.dtype))


KERNELS: KernelTable = {
    "QuantizeLinear": build_assign,
    "DequantizeLinear": build_assign,
    "RequantizeLinear": build_assign,
}
