"""`admit`: a copy of the user's module that can be converted, or an error that says why it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lightning_esp.conversion.copying import copy_module
from lightning_esp.conversion.wrappers import inner_module, lead_back, unwrap
from lightning_esp.errors import ConversionError

_SHARDED = {"FSDPModule", "FullyShardedDataParallel"}


def admit(module: nn.Module) -> nn.Module:
    """Return a copy in evaluation mode, without gradients and without wrappers such as `torch.compile`.

    Args:
        module: what the user wants to convert; left as it is.

    Raises:
        ConversionError: it is no module, is compiled by `torch.jit`, or has parameters without values.
    """
    if not isinstance(module, nn.Module):
        raise ConversionError(
            f"the module is a {type(module).__name__}, but only an nn.Module can be converted; give the module itself, "
            "or put a function into the forward of one."
        )
    module = inner_module(module)
    if isinstance(module, nn.RNNBase):
        kind = type(module).__name__
        raise ConversionError(
            f"the module is an nn.{kind} by itself, whose forward returns the state after the last frame too, and that is no "
            "output per frame; the stream keeps it itself. Give a module whose forward returns the output alone, with the "
            f"nn.{kind} as self.rnn: `return self.rnn(x)[0]`."
        )
    for path, child in module.named_modules():
        _check(child, _where(path, child))
    return _bare_copy(module).eval().requires_grad_(False)


def _bare_copy(module: nn.Module) -> nn.Module:
    # Wrappers are not copied: a process group or a compiled function has no copy. The innermost ones come first.
    copies: dict[int, object] = {}
    for child in reversed(list(module.modules())):
        if (inner := inner_module(child)) is not child:
            copies[id(child)] = copies.get(id(inner)) or copy_module(inner, copies)
            copies[id(inner)] = copies[id(child)]
            lead_back(cast("nn.Module", copies[id(child)]), child)
    copied = copy_module(module, copies)
    unwrap(copied)
    return copied


def _where(path: str, module: nn.Module) -> str:
    kind = getattr(module, "original_name", type(module).__name__)
    return f"module {path!r} ({kind})" if path else f"the module ({kind})"


def _check(module: nn.Module, where: str) -> None:
    if isinstance(module, torch.jit.ScriptModule):
        raise ConversionError(
            f"{where} is compiled by torch.jit, which hides what its forward does. Give the nn.Module that torch.jit.script "
            "or torch.jit.trace was called on, with these weights: module.load_state_dict(scripted.state_dict())."
        )
    if _SHARDED & {cls.__name__ for cls in type(module).__mro__}:
        raise ConversionError(
            f"{where} is sharded by FSDP, so this process holds a part of its weights. Gather them, "
            "torch.distributed.checkpoint.state_dict.get_model_state_dict(module, options=StateDictOptions("
            "full_state_dict=True)), load them into the nn.Module as it was built, and give that."
        )
    for name, tensor in _tensors(module):
        if is_lazy(tensor):
            raise ConversionError(
                f"{where}: {name!r} has no shape yet, since a lazy module takes it from its first input. Run the module "
                "once on an example, train it or load its weights, and convert it then."
            )
        if tensor.is_meta:
            raise ConversionError(
                f"{where}: {name!r} is on the meta device, so it has a shape and no values. Make room for them with "
                'module.to_empty(device="cpu") and load the trained weights with load_state_dict.'
            )


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters(recurse=False)
    yield from module.named_buffers(recurse=False)
