"""Bounds on the accumulator of a Conv, Gemm or MatMul.

A peak is the largest value that an accumulator passes through, or the smallest one's distance from -1, whichever is
larger: of b bits a register holds every peak up to 2^(b-1) - 1, since -2^(b-1) fits and 2^(b-1) does not.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lightning_esp.espdl.espdl_model import Array
from lightning_esp.espdl.kernels.convolution import list_columns, list_products, unpack_second
from lightning_esp.espdl.kernels.node import Node, same_rank

# Products of a piece, and rows of the first one: where the largest sums come first, few pieces have to be followed.
_PIECE, _FIRST = 4_000_000, 64


def accumulator_bound(node: Node, smallest: int, largest: int) -> int:
    """Return what no accumulator exceeds, whatever the input and in whatever order the products are added.

    Args:
        node: The operator.
        smallest: Smallest integer of its first input.
        largest: Largest integer of its first input.

    Returns:
        A peak, or more.
    """
    if node.input(1).data is None:
        # Both factors are computed, so that the second too may be anything.
        whole = -int(np.iinfo(node.input(1).dtype).min)
        return node.input(0).shape[-1] * max(abs(smallest), abs(largest)) * whole
    taps, bias = list_products(node)
    ends = np.stack([taps * smallest, taps * largest, np.zeros_like(taps)])
    high = ends.max(axis=0).sum(axis=(0, 1)) + np.maximum(bias, 0)
    low = ends.min(axis=0).sum(axis=(0, 1)) + np.minimum(bias, 0)
    return _peak(high, low)


def accumulator_peak(node: Node, values: Array, least: int = 0, second: Array | None = None) -> int:
    """Return the peak of the accumulators of a Conv, Gemm or MatMul on an input.

    The sum starts at the bias and takes its products in ESP-DL's order (kernel row, kernel column, input channel), as
    the S3's vector unit does; its 20-bit accumulator must hold every partial sum.

    Args:
        node: The operator.
        values: Its first input, as for its kernel.
        least: A peak that is known; only larger ones are looked for.
        second: Its second input, read where both are computed: it bounds their partial sums in any order. Without it
            the first is taken to meet anything.

    Returns:
        The peak over all outputs and all partial sums, at least `least`.
    """
    if node.input(1).data is None:
        first = np.abs(values.astype(np.float64))
        if second is None:
            sums = first.sum(axis=-1) * -int(np.iinfo(node.input(1).dtype).min)
        else:
            first, other = same_rank(first, np.abs(unpack_second(node, second).astype(np.float64)))
            sums = first @ other
        return max(least, int(sums.max()))
    taps, bias = list_products(node)
    rows = list_columns(node, values)
    bounds = np.concatenate([_bound_rows(rows[piece], taps, bias) for piece in _pieces(len(rows), taps.size)])
    order = np.argsort(-bounds, kind="stable")
    peak = max(least, _peak(bias, bias))
    for piece in _pieces(len(rows), taps.size):
        # What follows is bounded by what stands first.
        if bounds[order[piece][0]] <= peak:
            break
        peak = max(peak, _follow(rows[order[piece]].astype(np.int64), taps, bias))
    return peak


def _pieces(count: int, size: int) -> Iterator[slice]:
    start, length = 0, _FIRST
    while start < count:
        yield slice(start, start + length)
        start, length = start + length, max(1, _PIECE // max(1, size))


def _bound_rows(rows: Array, taps: Array, bias: Array) -> Array:
    """Bound the products of each row, summed in any order; in doubles, which hold all of these sums."""
    positive, negative = (np.maximum(sign * rows.astype(np.float64), 0) for sign in (1, -1))
    up, down = (np.maximum(sign * taps.astype(np.float64), 0) for sign in (1, -1))
    high = _sum(positive, up) + _sum(negative, down) + np.maximum(bias, 0)
    low = -_sum(positive, down) - _sum(negative, up) + np.minimum(bias, 0)
    return np.asarray(np.maximum(high, -1 - low).max(axis=1))


def _sum(rows: Array, taps: Array) -> Array:
    if taps.shape[1] != rows.shape[2]:
        return np.asarray((rows * taps[:, 0, :]).sum(axis=1))
    return np.asarray(rows.reshape(len(rows), -1) @ taps.reshape(-1, taps.shape[-1]))


def _follow(rows: Array, taps: Array, bias: Array) -> int:
    """Prefix sums of (rows, taps, in) x (taps, in, out)."""
    alone = taps.shape[1] != rows.shape[2]
    products = rows * taps[:, 0, :] if alone else (rows[..., None] * taps).reshape(len(rows), -1, taps.shape[-1])
    sums = np.cumsum(products, axis=1) + bias
    return _peak(sums, sums)


def _peak(high: Array, low: Array) -> int:
    return max(int(high.max()), -1 - int(low.min()))
