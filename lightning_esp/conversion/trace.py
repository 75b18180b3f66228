"""`ForwardTrace`: what `forward` does, as data. Several runs of it are merged into one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_esp.errors import UnsupportedOperatorError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Ref:
    """A value made from the inputs, by its number in the trace."""

    index: int


@dataclass(frozen=True)
class Constant:
    """A tensor that no input enters into: a parameter, a buffer, or one that `forward` makes.

    Args:
        value: the tensor; axes that follow the recording or the batch are shortened to 1 where it is the same along them.
        name: path of the parameter or buffer, or "".
        varies: it differs between recordings in a way that cannot be shortened.
        follows: axes that follow the recording or the batch.
        fits_clip: it varies, but is the same for all recordings of the base length: what a clip reads.
    """

    value: Tensor
    name: str = ""
    varies: bool = False
    follows: Shape = ()
    fits_clip: bool = False


@dataclass(frozen=True)
class Varying:
    """A number that depends on the frames or on the batch of the recording: one value per run of the trace."""

    values: tuple[Any, ...]

    def __str__(self) -> str:
        return str(self.values[0])

    @property
    def with_time(self) -> bool:
        """Tell whether it depends on the number of frames (the last run differs in its batch alone)."""
        return len(set(self.values[:-1])) > 1


@dataclass(frozen=True)
class Call:
    """One torch function that `forward` called.

    Args:
        name: name of the function, without the underscore of its in-place form.
        function: the function; the module for a hand-written contract.
        args: arguments, tensors as `Ref` or `Constant`.
        kwargs: the same by name.
        path: path of the innermost module that called it.
        kind: class name of that module.
        results: numbers of the tensors that it returned.
    """

    name: str
    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    path: str
    kind: str
    results: tuple[int, ...]

    @property
    def where(self) -> str:
        """The module that called it, for messages."""
        return f"module {self.path!r} ({self.kind})" if self.path else f"the model ({self.kind})"


@dataclass(frozen=True)
class ForwardTrace:
    """Calls of one `forward`, recorded in several runs.

    Args:
        calls: functions in the order of execution; only those that an output depends on.
        shapes: for each value, its shape in every run: base, two other lengths, another batch.
        outputs: numbers of the values that `forward` returns.
        frames: recording length in the base run and in the runs of other length.
        inputs: time axis of each input by name; None for one that is held.
        dtype: floating-point type of the model.
        known: values with a lower number were made in every run; the others only in those of the base length, where
            `forward` takes no other or does something else for it.
    """

    calls: tuple[Call, ...]
    shapes: tuple[tuple[Shape, ...], ...]
    outputs: tuple[int, ...]
    frames: tuple[int, ...]
    inputs: dict[str, int | None]
    dtype: torch.dtype
    known: int = sys.maxsize


def flatten(value: Any) -> Iterator[Any]:
    """The leaves of nested tuples and lists."""
    if isinstance(value, tuple | list):
        for item in value:
            yield from flatten(item)
    else:
        yield value


def check_same_calls(first: Sequence[Call], other: Sequence[Call]) -> None:
    """Refuse a forward whose operations depend on the length of the recording or on the batch."""
    for a, b in zip(first, other, strict=False):
        if (a.name, a.path, len(a.results)) != (b.name, b.path, len(b.results)):
            raise _loop(a)
    if len(first) != len(other):
        raise _loop(max(first, other, key=len)[min(len(first), len(other)) - 1])


def _loop(call: Call) -> UnsupportedOperatorError:
    return UnsupportedOperatorError(
        f"{call.where}: forward runs other operations (at {call.name}) for a longer recording or another batch, as a Python "
        "loop over time does. To stream it, use nn.GRU or nn.LSTM, or write streaming_forward(x, *caches) and "
        "streaming_caches() for this module by hand."
    )


def merge_calls(calls: Sequence[Call]) -> Call:
    """One call out of the same call in every run."""
    first = calls[0]
    args = _merge_values([call.args for call in calls], first)
    kwargs = {key: _merge_values([call.kwargs[key] for call in calls], first) for key in first.kwargs}
    return Call(first.name, first.function, args, kwargs, first.path, first.kind, first.results)


def _merge_values(values: Sequence[Any], call: Call) -> Any:
    first = values[0]
    if isinstance(first, tuple):
        if any(len(v) != len(first) for v in values):
            raise _loop(call)
        return tuple(_merge_values(items, call) for items in zip(*values, strict=True))
    if isinstance(first, slice):
        parts = [[getattr(v, key) for v in values] for key in ("start", "stop", "step")]
        return slice(*(_merge_values(part, call) for part in parts))
    if isinstance(first, Constant):
        return _merge_constants(values)
    if isinstance(first, Ref) and any(v != first for v in values):
        raise _loop(call)
    return first if all(v == first for v in values) else Varying(tuple(values))


def _merge_constants(values: Sequence[Constant]) -> Constant:
    first, last = values[0], values[-1]
    if first.name or all(v.value is first.value for v in values):
        return first
    varying = Constant(first.value, varies=True, fits_clip=torch.equal(first.value, last.value))
    axes = tuple(i for i in range(first.value.ndim) if len({v.value.shape[i] for v in values}) > 1)
    short = []
    for constant in values:
        value = constant.value
        for axis in axes:
            value = value.narrow(axis, 0, 1)
        short.append(value)
        if not torch.equal(value.expand_as(constant.value), constant.value):
            return varying
    if not all(torch.equal(short[0], s) for s in short):
        return varying
    return Constant(short[0], follows=axes)


def needed(calls: Iterable[Call], outputs: Iterable[int]) -> tuple[Call, ...]:
    """The calls that lead to the outputs."""
    wanted, kept = set(outputs), []
    for call in reversed(list(calls)):
        if wanted.intersection(call.results):
            kept.append(call)
            wanted.update(ref.index for ref in references(call))
    return tuple(reversed(kept))


def references(call: Call) -> Iterator[Ref]:
    """The values that a call reads."""
    for value in flatten((call.args, tuple(call.kwargs.values()))):
        if isinstance(value, Ref):
            yield value


def replace_values(value: Any, change: Callable[[Any], Any]) -> Any:
    """Apply `change` to every leaf of an argument."""
    if isinstance(value, tuple):
        return tuple(replace_values(item, change) for item in value)
    if isinstance(value, slice):
        return slice(*(replace_values(v, change) for v in (value.start, value.stop, value.step)))
    return change(value)
