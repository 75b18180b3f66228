"""All that keeps a model from streaming, in one message: after a refusal the conversion goes on with a stand-in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightning_esp.conversion.building import Builder
from lightning_esp.conversion.stream_tensor import StreamTensor
from lightning_esp.conversion.trace import Call, references
from lightning_esp.errors import ConversionError

# So many are told; who reads more at once?
MOST = 8


class Unknown:
    """Stands for what a refused call would give where it has no time axis; what reads it is not looked at."""


UNKNOWN = Unknown()


def reads_unknown(call: Call, values: Mapping[int, Any]) -> bool:
    """Tell whether a call reads what a refused one would have made, so that nothing can be said of it."""
    return any(values[ref.index] is UNKNOWN for ref in references(call))


def stand_in(build: Builder, call: Call) -> tuple[StreamTensor | Unknown, ...]:
    """Return what the conversion goes on with in place of the results of a refused call."""
    return tuple(_stand_in(build, index) for index in range(len(call.results)))


def _stand_in(build: Builder, index: int) -> StreamTensor | Unknown:
    try:
        batch, time = build.axes(index)
        if time is None:
            return UNKNOWN
        like = build.match([shape[time] for shape in build.runs(index)])
        shape, frames = build.shape(index), like.frames
        return build.finish(
            StreamTensor(like.node, shape, batch, time, stride=like.stride, frames=frames, exact=frames)
        )
    except ConversionError:
        return UNKNOWN


def join_refusals(refusals: Sequence[ConversionError]) -> ConversionError:
    """Return one error that tells all, in the order in which the data meets them.

    Args:
        refusals: at least one.
    """
    first, *others = refusals
    if not others:
        return first
    told = " ".join(f"({number}) {error}" for number, error in enumerate(others[: MOST - 1], 2))
    more = f" And {len(others) - MOST + 1} more." if len(others) >= MOST else ""
    joined = type(first)(f"{first} {len(others)} more further on: {told}{more}")
    joined.__cause__ = first.__cause__
    return joined
