"""Wrappers around a module that compute nothing of their own: compilers, parallel runs, averages of weights."""

from __future__ import annotations

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

_HOLDERS = (AveragedModel, DataParallel, DistributedDataParallel)
# `torch.compile` and Lightning Fabric, by the attribute that holds what they wrap.
_ATTRIBUTES = ("_orig_mod", "_original_module")


def inner_module(module: nn.Module) -> nn.Module:
    """Return what `torch.compile`, `AveragedModel`, `DataParallel`, `DistributedDataParallel` or Fabric wraps.

    However often it is wrapped; a plain module itself.
    """
    while (inner := _held(module)) is not None:
        module = inner
    return module


def _held(module: nn.Module) -> nn.Module | None:
    if isinstance(module, _HOLDERS):
        return module.module
    # Not by `getattr`, which some wrappers pass on to the module inside.
    return next((inner for name, inner in module.named_children() if name in _ATTRIBUTES), None)


def unwrap(module: nn.Module) -> None:
    """Put every wrapped submodule of a copy in the place of its wrapper, found by `net.module` and the like as before."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if (inner := inner_module(child)) is not child:
                parent._modules[name] = inner
                lead_back(inner, child)


def lead_back(inner: nn.Module, wrapper: nn.Module) -> None:
    """Let a module that stands in the place of its wrapper be found by `net.module` and the like, as a forward may do."""
    for name in ("module", *_ATTRIBUTES):
        if name in wrapper._modules and not hasattr(inner, name):
            # No submodule, which would be a second path to it.
            vars(inner)[name] = inner
