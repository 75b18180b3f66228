"""Undo the order in which esp-ppq packs weights for each chip.

A filter is written in blocks of 16 (int8) or 8 (int16) output channels, `(N/16)HWC16`: block, kernel, input channel,
output channel within the block. Left-over output channels (`..._UNALIGNED`) follow as plain NHWC, or for a depthwise
conv as HWN. The plain-C chips keep NHWC, or HWCN for a depthwise conv. The shape in the file names the axes in yet
another order, (kernel, in, out) or for a depthwise conv (kernel, out, 1), and says nothing about the bytes.
"""

from __future__ import annotations

import math
import re

from lightning_esp.errors import EspdlFormatError
from lightning_esp.espdl.espdl_model import Array

# `N16HWC16` is what older exporters wrote for `(N/16)HWC16`.
_BLOCKED = re.compile(r"(?:\(N/(?=\d+\))|N(?=\d+H?WC))(\d+)\)?H?WC\1(_UNALIGNED)?")


def unpack_conv(data: Array, layout: str, grouped: bool) -> Array:
    """Bring a Conv filter into (out, in / groups, *kernel) order.

    Args:
        data: The filter in its file shape: (*kernel, in, out), or (*kernel, out, in / groups) where grouped.
        layout: The file's name of the packing.
        grouped: Whether the conv has more than one group.

    Returns:
        The same values, shape (out, in / groups, *kernel).

    Raises:
        EspdlFormatError: The packing is unknown.
    """
    kernel = data.shape[:-2]
    outputs, inputs = (data.shape[-2], data.shape[-1]) if grouped else (data.shape[-1], data.shape[-2])
    plain = _to_output_first(data.reshape(-1), layout, outputs, math.prod(kernel), inputs)
    return plain.reshape(outputs, *kernel, inputs).transpose(0, len(kernel) + 1, *range(1, len(kernel) + 1)).copy()


def unpack_matrix(data: Array, layout: str) -> Array:
    """Bring a Gemm or MatMul weight into (..., in, out) order.

    Args:
        data: The weight in its file shape, (..., in, out).
        layout: The file's name of the packing; every matrix is packed for itself.

    Returns:
        The same values and shape in plain order.

    Raises:
        EspdlFormatError: The packing is unknown.
    """
    inputs, outputs = data.shape[-2:]
    matrices = data.reshape(-1, inputs * outputs)
    plain = data.copy().reshape(-1, inputs, outputs)
    for index, matrix in enumerate(matrices):
        plain[index] = _to_output_first(matrix, layout, outputs, 1, inputs).reshape(outputs, inputs).T
    return plain.reshape(data.shape)


def _to_output_first(flat: Array, layout: str, outputs: int, taps: int, inputs: int) -> Array:
    """Reorder to (out, taps, in)."""
    if layout in ("NHWC", "NWC"):
        return flat.reshape(outputs, taps, inputs)
    if layout in ("HWCN", "WCN"):
        return flat.reshape(taps, inputs, outputs).transpose(2, 0, 1)
    blocked = _BLOCKED.fullmatch(layout)
    if blocked is None:
        raise EspdlFormatError(f"weight layout {layout!r} is unknown: the file is newer than this package.")
    plain = flat.copy().reshape(outputs, taps, inputs)
    lanes = int(blocked[1])
    full = outputs // lanes * lanes
    if full:
        blocks = flat[: full * taps * inputs].reshape(-1, taps, inputs, lanes)
        plain[:full] = blocks.transpose(0, 3, 1, 2).reshape(full, taps, inputs)
    return plain


def unpack_depthwise(data: Array, layout: str) -> Array:
    """Bring a depthwise filter into (out, in / groups, *kernel) order; left-over channels are stored kernel first.

    Args:
        data: The filter in its file shape, (*kernel, out, in / groups).
        layout: The file's name of the packing.

    Returns:
        The same values, shape (out, in / groups, *kernel).

    Raises:
        EspdlFormatError: The packing is unknown.
    """
    kernel, outputs, inputs = data.shape[:-2], data.shape[-2], data.shape[-1]
    plain = unpack_conv(data, layout, grouped=True)
    blocked = _BLOCKED.fullmatch(layout)
    if blocked is None:
        return plain
    full = outputs // int(blocked[1]) * int(blocked[1])
    rest = data.reshape(-1)[full * inputs * math.prod(kernel) :]
    plain[full:] = rest.reshape(inputs, *kernel, outputs - full).transpose(-1, 0, *range(1, len(kernel) + 1))
    return plain
