"""What `forward` returns beside its outputs per frame: caches of its own, which the stream keeps itself."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

from lightning_esp.errors import UnsupportedOperatorError
from lightning_esp.streaming.calling import argument_names
from lightning_esp.streaming.trace import Trace


def check_outputs(module: nn.Module, recorded: Trace, inputs: Collection[str]) -> None:
    """Refuse an output behind the first that has one size for recordings of every length.

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
    number = still.index(True)
    shape = [1, *recorded.shapes[recorded.outputs[number]][0][1:]]
    left = [name for name in argument_names(module) if name not in inputs]
    takes = f", as forward takes one by its argument {left[0]!r}" if left else ""
    kept = "y" if number == 1 else "the outputs before it"
    raise UnsupportedOperatorError(
        f"output {number} of {type(module).__name__}, {shape}, has the same size for recordings of every length: it is a cache or "
        f"a state{takes}, and no output per frame. To stream it, return {kept} alone, since the caches of a converted model are "
        "made for you; or keep yours by hand, streaming_forward(x, cache) -> (y, new cache) with streaming_caches() -> "
        f'{{"cache": ({", ".join(map(str, shape[1:]))})}}, beside a forward that returns y.'
    )


def _follows_time(recorded: Trace, value: int) -> bool:
    shapes = recorded.shapes[value][:-1]
    return any(shape != shapes[0] for shape in shapes)
