"""Operators that move integers: views, copies, and everything else as a table of places."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lightning_esp.espdl import Node, attribute_ints, build_kernel, positive_axis, read_slices
from lightning_esp.quantization_aware.kernels.common import Builders, Kernel, single


def build_concat(node: Node) -> Kernel:
    """Build a concatenation."""
    axis = positive_axis(int(node.attribute("axis", 0)), len(node.input(0).shape))

    def run(values: Sequence[Tensor]) -> tuple[Tensor, ...]:
        count = max(value.shape[0] for value in values)
        return (torch.cat([value.expand(count, *value.shape[1:]) for value in values], axis),)

    return run


def build_transpose(node: Node) -> Kernel:
    """Build a permutation of axes."""
    rank = len(node.input(0).shape)
    perm = attribute_ints(node.attribute("perm", tuple(reversed(range(rank)))))
    order = (0, *(positive_axis(axis, rank) for axis in perm))
    return single(lambda values: values.permute(order))


def build_slice(node: Node) -> Kernel:
    """Build a slice; torch has no negative steps, so an axis that is turned around is gathered."""
    slices = (slice(None), *read_slices(node))
    if any(part.step is not None and part.step < 0 for part in slices):
        return build_moved(node)
    return single(lambda values: values[slices])


def build_view(node: Node) -> Kernel:
    """Build a change of shape."""
    probe = np.zeros((1, *node.input(0).shape), node.input(0).dtype)
    shape = build_kernel(node)([probe])[0].shape[1:]
    return single(lambda values: values.reshape(values.shape[0], *shape))


def build_moved(node: Node) -> Kernel:
    """Build any other movement: the kernel of the file moves numbers of places, and training gathers by them.

    What the kernel fills in, the zeros between frames say, lies behind the last place.
    """
    shape = node.input(0).shape
    size = int(np.prod(shape))
    places = np.arange(1, size + 1, dtype=np.int64).reshape(1, *shape)
    fill = _fill(node)
    results = build_kernel(node)([places])
    # A fill that is not zero would look like a place, so it is told apart by moving other numbers.
    again = build_kernel(node)([places + size + 200])
    found = [
        np.where(second == first + size + 200, first - 1, size) for first, second in zip(results, again, strict=True)
    ]

    def run(values: Sequence[Tensor]) -> tuple[Tensor, ...]:
        flat = values[0].reshape(values[0].shape[0], -1)
        flat = torch.cat([flat, flat.new_full((flat.shape[0], 1), fill)], 1)
        return tuple(
            flat[:, torch.from_numpy(moved.reshape(-1)).to(flat.device)].reshape(-1, *moved.shape[1:])
            for moved in found
        )

    return run


def _fill(node: Node) -> float:
    stored = node.optional_parameter(2) if node.operator.type == "Pad" else None
    return 0.0 if stored is None or not stored.size else float(stored.reshape(-1)[0])


BUILDERS: Builders = {
    "Concat": build_concat,
    "Transpose": build_transpose,
    "Slice": build_slice,
    "Reshape": build_view,
    "Flatten": build_view,
    "Squeeze": build_view,
    "Unsqueeze": build_view,
    "Pad": build_moved,
    "Split": build_moved,
    "InsertZeros": build_moved,
    "Resize": build_moved,
}
