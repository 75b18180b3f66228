"""Weights that `forward` computes, in float64: rounded once, to the type of the model, and proved unrounded.

A weight norm in float32 differs from one in float64 by more than the float64 proof allows, and by rounding alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm
from torch.overrides import TorchFunctionMode

from lightning_esp.conversion.calling import call
from lightning_esp.conversion.copying import AnyModule, copy_module
from lightning_esp.conversion.initial_padding import in_float64
from lightning_esp.conversion.spec import Values
from lightning_esp.conversion.streaming_model import StreamingModel

Make = Callable[[nn.Module, Values], StreamingModel]


class _Double(TorchFunctionMode):
    """Makes float64 of what is asked for in float32 by name."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        if func is torch.Tensor.float:
            return torch.Tensor.double(*args, **(kwargs or {}))
        return func(*map(_widened, args), **{key: _widened(value) for key, value in (kwargs or {}).items()})


def _widened(value: Any) -> Any:
    return torch.float64 if isinstance(value, torch.dtype) and value == torch.float32 else value


@contextmanager
def doubled() -> Iterator[None]:
    """Within it, tensors that a module makes or casts are float64, where they would be float32."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _Double():
            yield
    finally:
        torch.set_default_dtype(before)


def doubled_for(inputs: Mapping[str, Tensor]) -> AbstractContextManager[None]:
    """`doubled` where the inputs are float64, nothing where they are not."""
    is_double = all(value.dtype is torch.float64 for value in inputs.values() if value.is_floating_point())
    return doubled() if is_double else nullcontext()


def refresh(module: AnyModule) -> AnyModule:
    """Compute anew, in place, what the hooks of a module compute from its parameters.

    The weight of `torch.nn.utils.weight_norm` or `spectral_norm` is neither a parameter nor a buffer: `to` leaves it, and
    so does `load_state_dict`, until the layer is called the next time.
    """
    with torch.no_grad():
        for part in module.modules():
            for hook in part._forward_pre_hooks.values():
                if isinstance(hook, WeightNorm | SpectralNorm):
                    hook(part, None)
    return module


def make_exactly(make: Make, module: nn.Module, inputs: Values) -> StreamingModel:
    """Make a streaming model in float64 and round it to the type of the module.

    Args:
        make: the conversion.
        module: the offline module, in evaluation mode; it is left as it is.
        inputs: example by argument name.

    Returns:
        What `make` gives for the module, with `exact` filled in. Where its forward does not run in float64, what `make`
        gives for the module as it is.
    """
    tensors = (*module.parameters(), *inputs.values())
    dtype = next((t.dtype for t in tensors if t.is_floating_point()), torch.float32)
    wide = refresh(copy_module(module).double())
    values = {name: in_float64(value) for name, value in inputs.items()}
    if dtype is torch.float64 or not _runs(wide, values):
        return make(module, inputs)
    return _rounded(make(wide, values), dtype)


def _runs(module: nn.Module, inputs: Values) -> bool:
    try:
        with doubled():
            call(module, {name: value.clone() for name, value in inputs.items()})
    except Exception:  # whatever is wrong shows again where it has a name, in the module's own type
        return False
    return True


def _rounded(model: StreamingModel, dtype: torch.dtype) -> StreamingModel:
    exact = tuple(
        {name: value for name, value in _tensors(stage) if not torch.equal(value.to(dtype).double(), value)}
        for stage in model.stages
    )
    return replace(model, stages=tuple(refresh(stage.to(dtype)) for stage in model.stages), exact=exact)


def in_double(model: StreamingModel) -> StreamingModel:
    """The model in float64, with what was computed in float64 as it was before it was rounded.

    A tensor that has been changed since is no longer what was rounded, and stays what it is.
    """
    exact = model.exact or ({},) * len(model.stages)
    stages = tuple(_unrounded(stage, values) for stage, values in zip(model.stages, exact, strict=True))
    return replace(model, stages=stages)


def _unrounded(stage: nn.Module, exact: Mapping[str, Tensor]) -> nn.Module:
    wide, narrow = refresh(copy.deepcopy(stage).double()).eval(), dict(_tensors(stage))
    for name, tensor in _tensors(wide):
        if name in exact and torch.equal(exact[name].to(narrow[name].dtype), narrow[name]):
            tensor.copy_(exact[name])
    return wide


def _tensors(stage: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, value in [*stage.named_parameters(), *stage.named_buffers()]:
        if value.is_floating_point():
            yield name, value.detach()
