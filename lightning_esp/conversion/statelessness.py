"""A `forward` that remembers one call in the next streams by itself already, and cannot be converted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lightning_esp.conversion.calling import call_once
from lightning_esp.conversion.state import State, Written
from lightning_esp.errors import UnsupportedOperatorError


def check_stateless(module: nn.Module, inputs: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> None:
    """Refuse a `forward` that gives something else for a recording once it has seen another one, since it wrote a buffer.

    What forward writes and never reads again (a counter, a map of attention kept for a plot) does no harm.

    Args:
        module: the offline module.
        inputs: example by argument name, batch in front.
        others: other recordings of the same shapes.

    Raises:
        UnsupportedOperatorError: it remembers; the message names what it writes.
    """
    state = State(module)
    try:
        first = _results(module, inputs)
        written = state.written()
        if not written:
            return
        try:
            _results(module, others)
            second = _results(module, inputs)
        except Exception:  # the user's forward may raise anything on what it remembers
            second = []
        if len(first) != len(second) or not all(map(_agree, first, second)):
            raise _refusal(written, next(iter(inputs)))
    finally:
        state.restore()


def _results(module: nn.Module, inputs: Mapping[str, Tensor]) -> list[Tensor]:
    # The same random numbers for both.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return list(_tensors_in(call_once(module, {name: value.clone() for name, value in inputs.items()})))


def _tensors_in(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, tuple | list):
        for item in value:
            yield from _tensors_in(item)
    elif isinstance(value, Tensor):
        yield value.clone()


def _agree(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-4, atol=1e-5, equal_nan=True)


def _refusal(written: list[Written], argument: str) -> UnsupportedOperatorError:
    first = written[0]
    kind = type(first.module).__name__
    where = f"module {first.path!r} ({kind})" if first.path else f"the model ({kind})"
    names = " and ".join(repr(each.name) for each in written if each.module is first.module)
    shape = f" {list(first.value.shape)}" if isinstance(first.value, Tensor) else ""
    cache = list(first.value.shape[1:]) if isinstance(first.value, Tensor) else ["channels", "frames"]
    return UnsupportedOperatorError(
        f"{where}: forward writes the {first.kind} {names}{shape} and reads it in the next call, so it gives something else for "
        "the same recording each time; a conversion starts from a forward that takes a whole recording. To stream it, let "
        f"forward pad on the left instead, F.pad({argument}, (n, 0)), and the caches are made for you; or keep the step by hand "
        f"beside it, streaming_forward({argument}, {first.name}) -> (output, new {first.name}) with streaming_caches() -> "
        f'{{"{first.name}": ({", ".join(map(str, cache))})}}.'
    )
