"""Between float values in torch's layout and integers in the layout of a file."""

from __future__ import annotations

import numpy as np

from lightning_esp.chips import HALF_EVEN_TARGETS
from lightning_esp.quantization.job import Array
from lightning_esp.quantization.quantized_model import TensorInfo


def quantize_values(values: Array, tensor: TensorInfo, target: str) -> Array:
    """Quantize float values in torch's layout as the firmware does.

    Args:
        values: float values, batch in front.
        tensor: the graph input that they are for.
        target: the chip, which decides how halves are rounded.

    Returns:
        Integers in the file's layout.
    """
    turned = values.transpose(tensor.layout)
    if tensor.dtype == "float32":
        return np.ascontiguousarray(turned, dtype=np.float32)
    scaled = np.ldexp(turned.astype(np.float32), -tensor.exponent)
    rounded = np.rint(scaled) if target in HALF_EVEN_TARGETS else np.floor(scaled + np.float32(0.5))
    limits = np.iinfo(tensor.dtype)
    return np.ascontiguousarray(rounded.clip(limits.min, limits.max).astype(tensor.dtype))


def dequantize_values(values: Array, tensor: TensorInfo) -> Array:
    """Integers in the file's layout -> float32 in torch's layout."""
    real = values if tensor.dtype == "float32" else np.ldexp(values.astype(np.float32), tensor.exponent)
    return np.ascontiguousarray(real.transpose(np.argsort(tensor.layout)))


def regrid(values: Array, tensor: TensorInfo) -> Array:
    """Float32 values that lie on the quantization grid, in torch's layout -> integers in the file's layout."""
    turned = values.transpose(tensor.layout)
    if tensor.dtype == "float32":
        return np.ascontiguousarray(turned)
    return np.ascontiguousarray(np.rint(np.ldexp(turned, -tensor.exponent)).astype(tensor.dtype))


def quantize_start(value: float, tensor: TensorInfo) -> int:
    """The integer of a cache's start value, or the nearest one that there is.

    A start value may mean "less than anything": in front of a maximum, a stream is padded by some large negative number.
    """
    if tensor.dtype == "float32":
        return round(value)
    limits = np.iinfo(tensor.dtype)
    return int(np.clip(round(value * 2.0**-tensor.exponent), limits.min, limits.max))
