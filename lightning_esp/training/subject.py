"""The subject of an export: copies of the user's LightningModule and datamodule, and the module in it to export."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from torch import nn

from lightning_esp.conversion import copy_module as copy_detached
from lightning_esp.conversion import unwrap
from lightning_esp.training.copying import copy_module, copy_shallow
from lightning_esp.training.selection import find_module


@dataclass(frozen=True)
class Subject:
    """Subject of an export, apart from the user's own objects.

    Args:
        trainer: the user's trainer.
        original: a copy of the LightningModule with the weights to export, wrappers taken off.
        path: path of the exported module in it, `""` for itself.
        datamodule: the user's datamodule, or None; never changed.
    """

    trainer: Trainer
    original: LightningModule
    path: str
    datamodule: Any = None

    @property
    def module(self) -> nn.Module:
        """The module to export."""
        return self.original.get_submodule(self.path)

    @property
    def name(self) -> str:
        """The module in words, for messages."""
        return f"{self.path!r} ({type(self.module).__name__})" if self.path else type(self.original).__name__

    def copy_module(self) -> LightningModule:
        """A copy of the LightningModule for a run of its own; its trainer is the user's until it has one."""
        copied = copy_detached(self.original)
        copied._trainer = self.trainer
        return copied

    def copy_datamodule(self) -> Any:
        """A shallow copy of the datamodule for a run of its own."""
        return None if self.datamodule is None else copy_shallow(self.datamodule)


def make_subject(
    trainer: Trainer,
    module: LightningModule,
    path: str | None,
    checkpoint: dict[str, Any] | None,
    datamodule: Any = None,
) -> Subject:
    """Copy the LightningModule, give the copy other weights if there are any, and choose the module to export.

    Args:
        trainer: the user's trainer.
        module: the user's LightningModule, left as it is.
        path: `EspStreamingExport(module=...)`.
        checkpoint: content of a checkpoint, whose weights the copy gets; None keeps those of `module`.
        datamodule: the user's datamodule; None takes the trainer's.

    Raises:
        ConfigurationError: the module to export cannot be chosen.
    """
    found = find_module(module, path)
    copied = copy_module(module)
    if checkpoint is not None:
        copied.on_load_checkpoint(checkpoint)
        copied.load_state_dict(checkpoint["state_dict"], strict=copied.strict_loading)
    unwrap(copied)
    copied.eval()
    held = datamodule if datamodule is not None else getattr(trainer, "datamodule", None)
    return Subject(trainer, copied, _inner_path(copied, found), held)


def _inner_path(copied: LightningModule, path: str) -> str:
    """A path of the user's that leads through wrappers, in the copy without them."""
    names = path.split(".") if path else []
    kept: list[str] = []
    current: nn.Module = copied
    for name in names:
        # `_orig_mod` and AveragedModel's `module` are gone with their wrappers.
        if not hasattr(current, name) and name in ("_orig_mod", "module"):
            continue
        current = current.get_submodule(name)
        kept.append(name)
    return ".".join(kept)
