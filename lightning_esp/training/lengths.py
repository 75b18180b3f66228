"""Length of each padded recording in a batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from lightning_esp.errors import DataError

NAMES = ("lengths", "length", "input_lengths")


def find_lengths(batch: Any) -> tuple[Tensor, int] | None:
    """Return the lengths of the recordings in a batch, and the length that they are padded to.

    Lengths are a key or field `lengths` of the batch; or, in a plain tuple, a one-dimensional integer tensor whose largest
    value is the size of an axis of another tensor in the batch, which is what padding to the longest recording gives.
    Labels may look like that by chance, but not in every batch: so let no batch without lengths stand beside one with.

    Args:
        batch: what the loader gave: a tensor, tuple, mapping or dataclass.

    Returns:
        `[batch]` integers, and the padded length in the same unit; None where the batch has no lengths.

    Raises:
        DataError: a tensor named `lengths` fits nothing in the batch.
    """
    named = _named_lengths(batch)
    tensors = [value for value in iterate_tensors(batch) if value.ndim > 1]
    if named is not None:
        return named, _padded_length(named, tensors)
    for value in batch if isinstance(batch, list | tuple) else ():
        if _may_be_lengths(value) and int(value.max()) in _time_sizes(tensors, len(value)):
            return value.cpu().long(), int(value.max())
    return None


def iterate_tensors(batch: Any) -> Iterator[Tensor]:
    """Every tensor in nested tuples, lists, mappings and objects with fields."""
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, Mapping):
        yield from (tensor for value in batch.values() for tensor in iterate_tensors(value))
    elif isinstance(batch, list | tuple):
        yield from (tensor for value in batch for tensor in iterate_tensors(value))
    elif hasattr(batch, "__dict__"):
        yield from (value for value in vars(batch).values() if isinstance(value, Tensor))


def _named_lengths(batch: Any) -> Tensor | None:
    for name in NAMES:
        value = batch.get(name) if isinstance(batch, Mapping) else getattr(batch, name, None)
        if value is not None and not callable(value):
            return torch.as_tensor(value).cpu().flatten()
    return None


def _may_be_lengths(value: Any) -> bool:
    if not isinstance(value, Tensor) or value.ndim != 1 or value.is_floating_point() or value.dtype is torch.bool:
        return False
    return len(value) > 0 and int(value.min()) >= 1


def _time_sizes(tensors: list[Tensor], count: int) -> set[int]:
    return {size for tensor in tensors if tensor.shape[0] == count for size in tensor.shape[1:]}


def _padded_length(lengths: Tensor, tensors: list[Tensor]) -> int:
    sizes = _time_sizes(tensors, len(lengths))
    longest = lengths.max().item() if len(lengths) else 0
    if lengths.is_floating_point() and longest <= 1:
        return 1  # fractions of the padded length
    fitting = [size for size in sizes if size >= longest]
    if not fitting or lengths.min().item() < 1:
        raise DataError(
            f"the batch has lengths={lengths.tolist()}, but its tensors have axes of {sorted(sizes)} (batch aside): each "
            "length must be from 1 to the padded length. Give lengths in the samples or frames of the loader's tensor."
        )
    return int(longest) if longest in fitting else min(fitting)


def count_frames(lengths: Tensor, padded: int, frames: int) -> list[int]:
    """Scale lengths in the loader's unit to frames of the network, of which the padded recordings have `frames`."""
    return [max(1, min(frames, int(length * frames // padded))) for length in lengths.tolist()]
