"""Calls on whole clips: every operator of the offline network as it is, on the frames that are held."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from lightning_esp.conversion.holding import ClipBuilder
from lightning_esp.conversion.rules import RULES, clip_attention, clip_pooling, clip_recurrent
from lightning_esp.conversion.rules.common import Rule, per_frame
from lightning_esp.conversion.rules.recurrent import LastState
from lightning_esp.conversion.rules.refusals import unknown
from lightning_esp.conversion.rules.shaping import RESHAPES, spell_index
from lightning_esp.conversion.stream_tensor import Pending, Refused, StreamTensor
from lightning_esp.conversion.trace import Call, Constant, Ref, Varying, replace_values
from lightning_esp.errors import ConversionError


def apply_whole(build: ClipBuilder, call: Call, values: Mapping[int, Any]) -> tuple[Any, ...]:
    """Convert a call that reads whole clips.

    Args:
        build: the graph.
        call: what forward calls.
        values: what it reads, by number; of a stream the frames of the last clip are held.

    Returns:
        Its results.

    Raises:
        ConversionError: it has no form on whole clips either.
    """
    build.whole = True
    try:
        args, kwargs = _narrow_to_frame(build, call, values) or (call.args, call.kwargs)

        def change(item: Any) -> Any:
            return _settle(build, values[item.index] if isinstance(item, Ref) else item)

        args = replace_values(args, change)
        kwargs = {key: replace_values(value, change) for key, value in kwargs.items()}
        result = _convert(build, call, args, kwargs)
        results = result if isinstance(result, tuple) else (result,)
        return tuple(build.as_clip(r) if isinstance(r, StreamTensor) else r for r in results)
    finally:
        build.whole = False


def _settle(build: ClipBuilder, value: Any) -> Any:
    """Return the value that stands for an argument."""
    if isinstance(value, LastState):
        return _last_state(build, value)
    if isinstance(value, Pending) and value.stream is not None:
        value = value.stream
    if isinstance(value, Refused):
        raise build.refusal(value.rule, value.advice)
    if isinstance(value, Varying):
        base, batch = value.values[0], value.values[-1]
        return base if base == batch else Varying((*[base] * (len(value.values) - 1), batch))
    return build.hold(value) if isinstance(value, StreamTensor) and value.time_axis is not None else value


def _last_state(build: ClipBuilder, state: LastState) -> StreamTensor:
    """`h_n`, `[layers, batch, hidden]`: what each layer puts out in the last frame of the clip."""
    parts = []
    for stream in state.layers:
        last = build.hold(stream, stream.shape[stream.time] - 1, 1)
        parts.append(build.emit(torch.transpose, last, 0, 1) if stream.time == 1 else last.node)
    node = parts[0] if len(parts) == 1 else build.emit(torch.cat, tuple(parts), 0)
    first = state.layers[0]
    shape = (len(parts), first.shape[1 - first.time], first.shape[2])
    return build.as_clip(build.finish(StreamTensor(node, shape, 1, None)))


def _narrow_to_frame(build: ClipBuilder, call: Call, values: Mapping[int, Any]) -> Any:
    """The arguments of `x[..., -1]` on time, of which one frame is held; None for any other call."""
    x = values[call.args[0].index] if call.args and isinstance(call.args[0], Ref) else None
    if not isinstance(x, StreamTensor) or x.time_axis is None or x.folded or call.results[0] >= build.trace.known:
        return None
    if call.name == "select" and len(call.args) == 3 and call.args[1] % len(x.shape) == x.time_axis:
        index: Any = (slice(None),) * x.time_axis + (call.args[2],)
    elif call.name == "__getitem__":
        index = call.args[1] if isinstance(call.args[1], tuple) else (call.args[1],)
    else:
        return None
    items = _spelled(index, len(x.shape))
    if items is None or not isinstance(items[x.time_axis], int):
        return None
    last = build.hold(x, items[x.time_axis] % x.shape[x.time_axis], 1)
    items[x.time_axis] = 0
    return (last, tuple(items)) if call.name == "__getitem__" else (last, x.time_axis, 0), {}


def _spelled(index: tuple[Any, ...], ndim: int) -> list[Any] | None:
    """An item per axis; None where the index has others than numbers and slices."""
    if any(not isinstance(i, int | slice | type(Ellipsis)) or isinstance(i, bool) for i in index):
        return None
    return spell_index(index, ndim)


def _convert(build: ClipBuilder, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if call.name in RESHAPES:
        batch, _ = build.axes()
        sizes = tuple(-1 if i == batch else n for i, n in enumerate(build.shape()))
        return per_frame(build, torch.reshape, args[0], sizes)
    if call.name in _JOINS and isinstance(args[0], tuple) and any(_is_per_batch(part) for part in args[0]):
        return per_frame(build, join_batch, args[0], args[1] if len(args) > 1 else kwargs.get("dim", 0))
    refusal: ConversionError
    try:
        rule: Rule = _RULES.get(call.name, unknown)
        return rule(build, *args, **kwargs)
    except ConversionError as error:
        refusal = error
    except (TypeError, ValueError, KeyError, IndexError, AssertionError) as error:
        # A rule is written for frames, and may not expect a call that has none.
        refusal = build.refusal(f"has a form that no rule knows on a clip ({type(error).__name__}: {error})", _BY_HAND)
    return _as_it_is(build, call, args, kwargs, refusal)


def _is_per_batch(part: Any) -> bool:
    """Tell whether a constant was made for the batch, such as a class token that is repeated for each recording."""
    return isinstance(part, Constant) and 0 in part.follows


def join_batch(tensors: tuple[Tensor, ...], dim: int) -> Tensor:
    """`torch.cat`, where tensors of a batch of one are the same for every recording."""
    batch = max(len(tensor) for tensor in tensors)
    return torch.cat([t.expand(batch, *t.shape[1:]) if len(t) < batch else t for t in tensors], dim)


_JOINS = frozenset(("cat", "concat", "concatenate"))
_RULES: dict[str, Rule] = {**RULES, **clip_recurrent.RULES, **clip_attention.RULES, **clip_pooling.RULES}
# What these refuse has no form on the chip, whatever the frames.
_CERTAIN = frozenset((*clip_recurrent.RULES, *clip_attention.RULES, "gru_cell", "lstm_cell", "rnn_tanh", "rnn_relu"))
_BY_HAND = "write it in other operators, or pool in front of it"


def _as_it_is(
    build: ClipBuilder, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any], refusal: ConversionError
) -> Any:
    """The call itself, where nothing in it follows the batch."""
    follows_batch = any(isinstance(v, Varying) for v in _leaves((args, tuple(kwargs.values()))))
    if follows_batch or call.name in _CERTAIN or not callable(call.function):
        raise refusal
    function: Callable[..., Any] = call.function
    node = build.emit(function, *args, **kwargs)
    if len(call.results) == 1:
        return build.result(node, [])
    return tuple(build.result(build.item(node, i), [], i) for i in range(len(call.results)))


def _leaves(value: Any) -> list[Any]:
    found: list[Any] = []
    replace_values(value, lambda item: found.append(item))
    return found
