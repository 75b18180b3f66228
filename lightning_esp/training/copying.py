"""Copies of what belongs to the user, made so that a training run never notices."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from lightning_esp.conversion import copy_module as copy_detached

AnyModule = TypeVar("AnyModule", bound=nn.Module)

STEPS = ("forward", "training_step", "validation_step", "test_step", "predict_step")


@contextmanager
def isolate_random(seed: int) -> Iterator[None]:
    """Seed every global random state inside the block, and put all of them back behind it."""
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    # A process that trains on the CPU must not open a context on every GPU of the machine.
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
    try:
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


def copy_module(module: AnyModule) -> AnyModule:
    """Return a deep copy in float32 on the CPU that shares nothing with `module`, neither graph nor compiled code.

    Wrappers are still in place, so that the state dict has the names of the user's checkpoints; see `conversion.wrappers.unwrap`.
    """
    compiled = getattr(module, "_compiler_ctx", None)
    copied = copy_detached(module, None if compiled is None else {id(compiled): None})
    if compiled is not None:
        # `trainer.fit(torch.compile(module))` binds compiled functions of the original to the instance.
        for name in STEPS:
            vars(copied).pop(name, None)
    return copied.float().cpu()


def copy_shallow(holder: Any) -> Any:
    """Return a copy of a datamodule that may be asked for loaders: its data are shared, its random generators are not."""
    copied = copy.copy(holder)
    for name, value in list(vars(copied).items()):
        if isinstance(value, torch.Generator | np.random.Generator | np.random.RandomState | random.Random):
            vars(copied)[name] = copy.deepcopy(value)
    return copied
