"""The raw readings behind what the exported network sees, where a `Normalize` stands before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lightning_esp.conversion import Recording
from lightning_esp.frontend import Normalize

# Another device rounds otherwise.
_LIMIT = 1e-4


@torch.no_grad()
def match_readings(
    normalize: Normalize, rows: Sequence[Tensor] | None, recordings: Sequence[Recording]
) -> tuple[list[Tensor], Normalize] | None:
    """Return the raw readings of each recording, arranged as the network takes it, and the normalisation of these.

    What lies between may swap the last two axes and add one of length 1.

    Args:
        normalize: of the LightningModule.
        rows: what it was called with, without batch, one for each recording.
        recordings: what the network saw, without batch, padding cut off.

    Returns:
        What gives these recordings; None where the network sees something else.
    """
    if rows is None or len(rows) < len(recordings) or not recordings:
        return None
    seen = [recording for recording in recordings if isinstance(recording, Tensor)]
    pairs = list(zip(rows, seen, strict=False))
    if len(seen) < len(recordings) or len({row.dim() for row, _ in pairs}) > 1 or pairs[0][0].dim() < 2:
        return None
    for order in _orders(pairs[0][0].dim() + 1):
        axis = normalize.channel_axis % (pairs[0][0].dim() + 1)
        arranged = Normalize(normalize.mean, normalize.scale, order.index(axis))
        raw = [_arrange(row, order) for row, _ in pairs]
        if all(map(_has_room, raw, seen)):
            cut = [each[tuple(map(slice, found.shape))] for each, found in zip(raw, seen, strict=True)]
            if all(_equals(arranged, each, found) for each, found in zip(cut, seen, strict=True)):
                return cut, arranged
    return None


def _orders(axes: int) -> Iterator[list[int | None]]:
    """Orders of axes, batch in front; None is an axis of length 1."""
    plain = list(range(axes))
    for order in (plain, [*plain[:-2], plain[-1], plain[-2]]):
        yield list(order)
        for place in range(1, axes + 1):
            yield [*order[:place], None, *order[place:]]


def _arrange(row: Tensor, order: Sequence[int | None]) -> Tensor:
    turned = row.permute([axis - 1 for axis in order if axis])
    return turned.unsqueeze(order.index(None) - 1) if None in order else turned


def _has_room(row: Tensor, found: Tensor) -> bool:
    return row.dim() == found.dim() and all(a >= b for a, b in zip(row.shape, found.shape, strict=True))


def _equals(normalize: Normalize, row: Tensor, found: Tensor) -> bool:
    if row.shape[normalize.channel_axis - 1] != normalize.channels:
        return False
    made = normalize(row.unsqueeze(0))[0]
    return not made.numel() or float((made - found).abs().max()) <= _LIMIT * max(1.0, float(found.abs().max()))
