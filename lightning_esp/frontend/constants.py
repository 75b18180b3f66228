"""A normalisation that a network begins with in plain arithmetic, told by the `Normalize` that takes its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lightning_esp.errors import ConfigurationError
from lightning_esp.frontend.normalize import Normalize


class _Watch(TorchFunctionMode):
    """Notes what is subtracted from an input, and what that is then divided by."""

    def __init__(self, given: Tensor) -> None:
        super().__init__()
        self._given = given
        self._centred: Tensor | None = None
        self.mean: Tensor | None = None
        self.scale: Tensor | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = str(getattr(func, "__name__", "")).strip("_")
        if len(args) == 2 and isinstance(args[1], Tensor):
            if name in ("sub", "subtract") and args[0] is self._given:
                self.mean, self._centred = args[1], result
            elif name in ("div", "divide", "truediv", "true_divide") and args[0] is self._centred:
                self.scale = args[1]
            elif name in ("mul", "multiply") and args[0] is self._centred:
                self.scale = 1 / args[1]
        return result


@torch.no_grad()
def find_constants(network: Callable[[Tensor], Any], recording: Tensor) -> Normalize | None:
    """Return the `Normalize` that does what a network does first of all, `(x - mean) / scale` by constants of each channel.

    Args:
        network: in evaluation mode.
        recording: as the network takes it, without batch dimension.

    Returns:
        None where the network begins otherwise, or with what follows from the recording, or does not run on it.
    """
    # What follows from the recording is another for another one.
    first, second = (_watch(network, each.unsqueeze(0)) for each in (recording, 2 * recording + 1))
    if first is None or second is None or not all(map(torch.equal, first, second)):
        return None
    shape = (first[0] + first[1]).shape
    sizes = (*[1] * (recording.dim() + 1 - len(shape)), *shape)
    axes = [axis for axis, size in enumerate(sizes) if size > 1]
    if len(axes) != 1 or axes[0] == 0:
        return None
    mean, scale = (each.broadcast_to(shape).flatten() for each in first)
    try:
        return Normalize(mean, scale, axes[0])
    except ConfigurationError:  # a scale of 0, say, is the network's own affair
        return None


def _watch(network: Callable[[Tensor], Any], batch: Tensor) -> tuple[Tensor, Tensor] | None:
    watch = _Watch(batch)
    try:
        with watch:
            network(batch)
    except Exception:  # whatever the user's forward raises, the conversion tells with its place
        return None
    return None if watch.mean is None or watch.scale is None else (watch.mean, watch.scale)
