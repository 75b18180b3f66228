"""Time dependence of an output along an axis: on nothing, on what came before, or on what comes later as well."""

from __future__ import annotations

from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lightning_esp.config import Streaming
from lightning_esp.conversion.copying import copy_module
from lightning_esp.conversion.geometry import Geometry, probe, run, try_run
from lightning_esp.conversion.spec import Values

# Beside the largest value of an output; smaller differences are of rounding.
_SMALL = 1e-6


class Memory(Enum):
    """Dependence of `forward` along an axis; the value ends the sentence "along the axis, it ..."."""

    ALONE = "takes each position alone"
    PAST = "remembers what came before, and pads in front"
    SOME = "joins neighbours, or cannot be told"
    AHEAD = "looks ahead"


def measure(module: nn.Module, inputs: Values, streaming: Streaming) -> Memory:
    """Find out what an output position depends on, by changing the inputs behind it and in front of it.

    Args:
        module: the offline module.
        inputs: example by argument name, batch in front.
        streaming: options with `time_axis` (the axis in question) and `inputs` filled in.
    """
    module, values = _alive(module), _noise(inputs, 1)
    if try_run(module, values) is None:
        return Memory.SOME
    geometry = probe(module, values, streaming)
    start = _middle(values, streaming, geometry)
    if start == 0 or geometry.axis is None:
        return Memory.SOME
    if look_ahead(module, values, streaming, geometry) > 0:
        return Memory.AHEAD
    if geometry.trim >= geometry.stride:
        return Memory.SOME
    changed = _changed(module, values, _joined(_noise(inputs, 0), values, start, streaming), geometry.axis)
    if not bool(changed.any()):
        return Memory.SOME
    behind = int(changed.nonzero()[-1]) // geometry.up
    if behind * geometry.stride < start:
        return Memory.ALONE
    # A strided kernel over bins pads like a causal one.
    return Memory.PAST if (geometry.stride, geometry.up) == (1, 1) else Memory.SOME


def look_ahead(module: nn.Module, inputs: Values, streaming: Streaming, geometry: Geometry) -> int:
    """Input frames that an output frame waits for, measured by changing the second half of the example."""
    start = _middle(inputs, streaming, geometry)
    if start == 0 or geometry.axis is None:
        return 0
    changed = _changed(module, inputs, _joined(inputs, _noise(inputs, 0), start, streaming), geometry.axis)
    earliest = int(changed.nonzero()[0]) if bool(changed.any()) else len(changed)
    allowed = (earliest // geometry.up + 1) * geometry.stride - 1 + geometry.trim
    return max(0, start - allowed)


def takes_for_time(module: nn.Module, inputs: Values, longer: Values) -> bool:
    """Tell whether a module's layers take the axis in which two examples differ for time, as torch lays inputs out.

    Convolutions of one axis run along it, `[batch, channels, time]`; a norm goes over features, so over another.
    """
    if try_run(module, longer) is None:
        return False
    notes = [_Layers(), _Layers()]
    for found, values in zip(notes, (inputs, longer), strict=True):
        with found:
            run(module, values)
    return notes[0].normalizes or notes[0].lengths != notes[1].lengths


class _Layers(TorchFunctionMode):
    """Notes the length of what `conv1d` runs over, and whether a norm runs over axes whose lengths it knows."""

    def __init__(self) -> None:
        super().__init__()
        self.lengths: list[int] = []
        self.normalizes = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in ("conv1d", "conv_transpose1d"):
            self.lengths.append((args[0] if args else kwargs["input"]).shape[-1])
        self.normalizes = self.normalizes or name in ("layer_norm", "rms_norm")
        return func(*args, **(kwargs or {}))


def _middle(inputs: Values, streaming: Streaming, geometry: Geometry) -> int:
    name = next(n for n, kind in (streaming.inputs or {}).items() if kind == "stream")
    return inputs[name].shape[streaming.time_axis or 0] // 2 // geometry.stride * geometry.stride


def _changed(module: nn.Module, before: Values, after: Values, axis: int) -> Tensor:
    one, other = run(module, before)[0], run(module, after)[0]
    gap = (one - other).abs().transpose(0, axis).flatten(1).amax(dim=1)
    return gap > _SMALL * one.abs().max().clamp(min=1)


def _alive(module: nn.Module) -> nn.Module:
    # Weights of zero, as of a head before training, hide what the output depends on.
    module = copy_module(module)
    generator = torch.Generator().manual_seed(2)
    for weight in module.parameters():
        if weight.is_floating_point() and not bool(weight.any()):
            weight.data.copy_(torch.randn(weight.shape, generator=generator))
    return module


def _noise(inputs: Values, seed: int) -> Values:
    generator = torch.Generator().manual_seed(seed)
    return {
        n: torch.randn(v.shape, generator=generator).to(v) if v.is_floating_point() else v for n, v in inputs.items()
    }


def _joined(first: Values, second: Values, start: int, streaming: Streaming) -> Values:
    """The frames of `first` before `start`, and those of `second` from there on."""
    axis, kinds = streaming.time_axis or 0, streaming.inputs or {}

    def join(a: Tensor, b: Tensor) -> Tensor:
        return torch.cat([a.narrow(axis, 0, start), b.narrow(axis, start, a.shape[axis] - start)], dim=axis)

    return {name: join(v, second[name]) if kinds[name] == "stream" else v for name, v in first.items()}
