"""Frames near the ends of a recording that a stream cannot give as offline does, read off how each is made.

Offline, a layer that looks ahead pads zeros behind and in front of the recording; the stream has there what the layers
before make of zeros. Every frame that such padding enters into is told from the rest, whatever rates lie between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil

import torch
from torch import Tensor

from lightning_esp.conversion.stream_tensor import StreamTensor


def count_first(output: StreamTensor, streams: Sequence[StreamTensor]) -> int:
    """First offline frames of a stream that layers which look ahead keep from being exact, at the start of a recording.

    Args:
        output: the stream.
        streams: every stream, in the order of their making.
    """
    unlike: dict[int, set[int]] = {}
    for stream in streams:
        unlike[id(stream)] = _unlike(stream, unlike) if stream.moving else set()
    found = unlike[id(output)]
    return max(found) - output.delay + 1 if found else 0


def _unlike(stream: StreamTensor, unlike: dict[int, set[int]]) -> set[int]:
    """Stream frames from the first offline one on that are made of something else than offline."""
    found = set[int]()
    for source, reads in stream.reads or ():
        found |= _reading(stream, source, reads, unlike[id(source)])
    return found


def _reading(
    stream: StreamTensor, source: StreamTensor, reads: Callable[[int], Sequence[int]], unlike: set[int]
) -> set[int]:
    # Before frame 0 a cache holds what offline pads; between it and the first offline frame lies what a layer makes of it.
    last = max(unlike, default=source.delay - 1)
    found, frame, behind = set[int](), stream.delay, 0
    while behind <= ceil(source.stride / stream.stride):
        needed = reads(frame)
        if any(j >= 0 and (j < source.delay or j in unlike) for j in needed):
            found.add(frame)
        behind = behind + 1 if not needed or min(needed) > last else 0
        frame += 1
    return found


def count_last(stream: StreamTensor, known: Tensor, stride: int) -> tuple[int, ...]:
    """Last offline frames of a stream that padding behind the recording enters into.

    Args:
        stream: the stream.
        known: `[lengths]`, of type bool, the recording lengths that count.
        stride: input frames after which the pattern repeats.

    Returns:
        Their number by the rest of the recording's length divided by the stride; empty where there are none.
    """
    if stream.exact is stream.frames:
        return ()
    lost = torch.where(known, stream.frames - stream.exact, 0)
    found = tuple(max(0, int(lost[rest::stride].max())) for rest in range(stride))
    return found if any(found) else ()
