"""A second run on other contents: what changes with them, and is not seen as made from the input, was made out of sight."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from lightning_esp.conversion.recorder import Recorder
from lightning_esp.conversion.trace import Call, Constant, flatten, needed
from lightning_esp.errors import UnsupportedOperatorError

_Run = tuple[Recorder, tuple[Any, ...]]


def other_contents(inputs: Mapping[str, Tensor], axes: Mapping[str, int | None]) -> dict[str, Tensor]:
    """The same recordings backwards, a little smaller and not quite clean."""
    generator = torch.Generator().manual_seed(0)
    changed = {}
    for name, value in inputs.items():
        axis = axes[name]
        value = value if axis is None else value.flip(axis)
        if value.is_floating_point():
            noise = torch.randn(value.shape, generator=generator).to(value)
            value = 0.75 * value + 0.01 * noise * value.abs().amax().clamp(min=1e-3)
        changed[name] = value
    return changed


def check_contents(first: _Run, other: _Run | Exception) -> None:
    """Refuse a `forward` whose constants or steps follow the contents of the recording.

    Args:
        first: a run.
        other: a run on inputs of the same shapes; an exception where forward did not take them.

    Raises:
        UnsupportedOperatorError: they do; the message names the module.
    """
    if isinstance(other, Exception):
        return
    calls, others = first[0].calls, other[0].calls
    for a, b in zip(calls, others, strict=False):
        if (a.name, a.path, len(a.results)) != (b.name, b.path, len(b.results)):
            raise _refusal(a, f"forward runs {a.name} for one recording and {b.name} for another of the same length")
    wanted = {result for call in needed(calls, _indices(first[1])) for result in call.results}
    for a, b in zip(calls, others, strict=False):
        if wanted.intersection(a.results) and any(map(_differ, _constants(a), _constants(b))):
            found = next(x for x, y in zip(_constants(a), _constants(b), strict=True) if _differ(x, y))
            raise _refusal(
                a, f"{a.name} reads a tensor {list(found.value.shape)} that changes with the contents of the recording"
            )


def _indices(results: tuple[Any, ...]) -> list[int]:
    return [value.index for value in results if not isinstance(value, Constant) and hasattr(value, "index")]


def _constants(call: Call) -> Iterator[Constant]:
    return (v for v in flatten((call.args, tuple(call.kwargs.values()))) if isinstance(v, Constant))


def _differ(a: Constant, b: Constant) -> bool:
    if a.name or a.value.shape != b.value.shape:
        return False
    # Not a number is unlike itself.
    same = (a.value == b.value) | ((a.value != a.value) & (b.value != b.value))
    return not bool(same.all())


def _refusal(call: Call, rule: str) -> UnsupportedOperatorError:
    return UnsupportedOperatorError(
        f"{call.where}: {rule}, yet not by torch functions that can be seen: it is drawn at random, was never written, or is "
        "computed by a compiled function, another library or another thread. To stream it, compute it from the input by "
        "torch functions, and draw nothing in evaluation mode."
    )
