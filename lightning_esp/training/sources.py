"""Data of a training run that an export may use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pytorch_lightning import LightningModule, Trainer

from lightning_esp.training.package import is_lightning

HOOKS = {
    "calibration": "calibration_dataloader",
    "validation": "val_dataloader",
    "training": "train_dataloader",
    "test": "test_dataloader",
}


@dataclass(frozen=True)
class DataSource:
    """Loaders of the user.

    Args:
        name: `"calibration"`, `"validation"`, `"training"` or `"test"`.
        loaders: one loader, or a collection of them.
    """

    name: str
    loaders: Any


def iterate_sources(trainer: Trainer, module: LightningModule, datamodule: Any) -> Iterator[DataSource]:
    """Yield what could calibrate a model, best first.

    Args:
        trainer: the trainer of the user.
        module: a copy of the LightningModule, whose loader hooks may be called.
        datamodule: a copy of the datamodule, or None.
    """
    for name in ("calibration", "validation", "training"):
        source = find_source(name, trainer, module, datamodule)
        if source is not None:
            yield source


def find_source(name: str, trainer: Trainer, module: LightningModule, datamodule: Any) -> DataSource | None:
    """Return the loaders of that name, in Lightning's order: datamodule, loaders given to `fit`, hooks of the module."""
    hook = HOOKS[name]
    if is_user_defined(datamodule, hook):
        return DataSource(name, getattr(datamodule, hook)())
    attached = _attached(trainer, name)
    if attached is not None:
        return DataSource(name, attached)
    if is_user_defined(module, hook):
        return DataSource(name, getattr(module, hook)())
    return None


def is_user_defined(instance: Any, name: str) -> bool:
    """Tell whether `instance` has a method of that name that is not just inherited from Lightning's packages."""
    if name in getattr(instance, "__dict__", {}):
        return True
    for cls in type(instance).__mro__:
        if name in vars(cls):
            return not is_lightning(cls.__module__)
    return False


def _attached(trainer: Trainer, name: str) -> Any:
    """Loaders that were given to `fit`; before the first epoch no public attribute of the trainer has them."""
    loops: dict[str, Any] = {
        "validation": trainer.fit_loop.epoch_loop.val_loop,
        "training": trainer.fit_loop,
        "test": trainer.test_loop,
    }
    if name not in loops:
        return None
    instance = loops[name]._data_source.instance
    # Where `fit` got no loaders, the instance is the LightningModule or the datamodule, whose hooks are asked instead.
    return None if hasattr(instance, "prepare_data_per_node") else instance
