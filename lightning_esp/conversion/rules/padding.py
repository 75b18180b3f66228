"""Padding: time by its delay, other axes as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch.nn.functional as F

from lightning_esp.conversion.building import Builder, same_frame
from lightning_esp.conversion.rules.common import Rule
from lightning_esp.conversion.stream_tensor import StreamTensor
from lightning_esp.conversion.trace import Varying


def pad(
    build: Builder, input: StreamTensor, pad: Any, mode: str = "constant", value: float | None = None
) -> StreamTensor:
    """`F.pad` and the padding layers: time by its delay, other axes as they are."""
    (left, right), others = _part_time(input, [tuple(pad[i : i + 2]) for i in range(0, len(pad), 2)])
    if isinstance(left, Varying) or isinstance(right, Varying):
        build.refuse("pads time by a number that follows the recording", "pad by a constant number of frames")
    if mode != "constant" and (left or right):
        build.refuse(f"pads time with mode={mode!r}, which copies frames", 'pad with zeros, mode="constant"')
    if any(any(pair) for pair in others):
        input = _pad_others(build, input, others, mode, {"value": value} if mode == "constant" else {})
    if input.steady and (left or right):
        build.refuse("pads a tensor that was expanded over time", "expand it to all frames")
    return build.pad(input, left, right, 0.0 if value is None else float(value))


def _part_time(x: StreamTensor, pairs: list[tuple[Any, Any]]) -> tuple[tuple[Any, Any], list[tuple[Any, Any]]]:
    """Part the pair of the time axis from the others, which come last axis first, as `F.pad` takes them."""
    if x.time_axis is None or x.time_axis < len(x.shape) - len(pairs):
        return (0, 0), pairs
    at = len(x.shape) - 1 - x.time_axis
    return pairs[at], [(0, 0) if i == at else pair for i, pair in enumerate(pairs)]


def _pad_others(
    build: Builder, x: StreamTensor, pairs: Sequence[tuple[Any, Any]], mode: str, options: dict[str, Any]
) -> StreamTensor:
    node, pad_value = build.apply(F.pad, x, tuple(n for pair in pairs for n in pair), mode, **options)
    added = {len(x.shape) - 1 - i: sum(pair) for i, pair in enumerate(pairs)}
    shape = tuple(n + added.get(axis, 0) for axis, n in enumerate(x.shape))
    return build.finish(replace(x, node=node, pad_value=pad_value, shape=shape, reads=((x, same_frame),)))


RULES: dict[str, Rule] = {"pad": pad}
