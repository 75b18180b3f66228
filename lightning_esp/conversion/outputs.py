"""Outputs of `forward` beside those per frame: caches of its own, which the stream keeps itself."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

from lightning_esp.conversion.calling import argument_names
from lightning_esp.conversion.structure import Keep, option
from lightning_esp.conversion.trace import ForwardTrace, needed, references
from lightning_esp.errors import UnsupportedOperatorError

# What leaves time by taking frames of it, or the state behind the last one. All else pools, and its own rule refuses that.
_TAKES = frozenset(
    {"__getitem__", "narrow", "select", "unbind", "split", "chunk", "index_select", "pad", "gru", "lstm"}
)


def check_outputs(module: nn.Module, recorded: ForwardTrace, inputs: Collection[str]) -> None:
    """Refuse a cache among the outputs: one behind the first that holds some frames, or a state, of every recording.

    Args:
        module: the offline module.
        recorded: what its forward does.
        inputs: names of the arguments that are given.

    Raises:
        UnsupportedOperatorError: there is one; the message gives its number and shape.
    """
    still = [not _follows_time(recorded, value) for value in recorded.outputs]
    if still[0] or not any(still):
        return
    left = [name for name in argument_names(module) if name not in inputs]
    taken = [alone and (bool(left) or _is_taken(recorded, i)) for alone, i in zip(still, recorded.outputs, strict=True)]
    if not any(taken):
        return
    number = taken.index(True)
    shape = [1, *recorded.shapes[recorded.outputs[number]][0][1:]]
    takes = f", as forward takes one by its argument {left[0]!r}" if left else ""
    kept = "y" if number == 1 else "the outputs before it"
    names = next((hook.names for hook in module._forward_hooks.values() if isinstance(hook, Keep)), None)
    first = option([name for i, name in enumerate(names or map(str, range(len(still)))) if i < number])
    raise UnsupportedOperatorError(
        f"output {number} of {type(module).__name__}, {shape}, has the same size for recordings of every length: it is a cache, "
        f"a state or the last frame{takes}, and no output per frame. To stream it, return {kept} alone, or keep no other, {first}, since the caches of a converted model are "
        "made for you; or keep yours by hand, streaming_forward(x, cache) -> (y, new cache) with streaming_caches() -> "
        f'{{"cache": ({", ".join(map(str, shape[1:]))})}}, beside a forward that returns y.'
    )


def _follows_time(recorded: ForwardTrace, value: int) -> bool:
    shapes = recorded.shapes[value][:-1]
    return any(shape != shapes[0] for shape in shapes)


def _is_taken(recorded: ForwardTrace, output: int) -> bool:
    """Tell whether the value that an output is made from takes frames out of the recording."""
    leaving = [
        call
        for call in needed(recorded.calls, [output])
        if any(_follows_time(recorded, ref.index) for ref in references(call))
        and not all(_follows_time(recorded, result) for result in call.results)
    ]
    return bool(leaving) and all(call.name in _TAKES for call in leaving)
