"""A finished run, from its checkpoint: the LightningModule, the datamodule, and the options of its export."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from pytorch_lightning import LightningDataModule, LightningModule

from lightning_esp.errors import CheckpointError, ConfigurationError
from lightning_esp.training.script import FitCall, run_script
from lightning_esp.training.sources import is_user_defined

Trust = Callable[[str], bool]
"""Whether to read a checkpoint all the same, for a reason to doubt it."""


@dataclass(frozen=True)
class FinishedRun:
    """Parts of a finished run that an export needs.

    Args:
        module: with the weights of the checkpoint.
        datamodule: with the options of the run; None where the module has loaders of its own.
        options: `export` of the run's `config.yaml`; empty where there is none.
        callbacks: those that the script trains with, where it was run up to its `fit`.
    """

    module: Any
    datamodule: Any
    options: dict[str, Any]
    callbacks: tuple[Any, ...] = field(default=())


def read_run(
    checkpoint: Path, recipe: Path, arguments: Sequence[str] = (), trust: Trust = lambda reason: False
) -> FinishedRun:
    """Build what trained a checkpoint. The recipe is run up to its `fit`.

    Args:
        checkpoint: a `.ckpt` file of Lightning. The `config.yaml` that LightningCLI keeps in the directory of the run, one
            above `checkpoints`, tells the options of the data and of the export; without it they are the defaults.
        recipe: a Python file that defines one LightningModule, and defines or imports one LightningDataModule; or any
            script that calls `Trainer.fit`.
        arguments: what the script was trained with; where there are some, it is run with them.
        trust: asked where the checkpoint holds more than weights and plain values, since unpickling that runs code; it gets
            the reason, and says whether to go on.

    Raises:
        ConfigurationError: a file does not exist, or a class cannot be found or built.
        CheckpointError: the checkpoint cannot be read, or is not trusted.
    """
    for path in (checkpoint, recipe):
        if not path.is_file():
            raise ConfigurationError(f"{path} is not a file; name a checkpoint, and --recipe the file that trained it.")
    with _keep_main():
        call = None
        if not arguments:
            source, call = run_script(recipe, recipe.stem, ())
            classes = _find_classes(source, recipe)
            if call is None and classes is not None:
                return _build(checkpoint, recipe, trust, *classes)
        call = call or run_script(recipe, "__main__", arguments)[1]
        if call is None:
            raise ConfigurationError(
                f"{recipe} defines no single LightningModule with data of its own, and trained nothing when it was run. Name the "
                "file that trained the checkpoint; its arguments go behind `--`."
            )
        return _restore(checkpoint, recipe, trust, call)


def _build(checkpoint: Path, recipe: Path, trust: Trust, module_class: Any, data_class: Any) -> FinishedRun:
    """Make module and datamodule from their classes and the options of the run."""
    config = _read_config(checkpoint.parent.parent / "config.yaml")
    _, plain = _load(checkpoint, trust)
    try:
        module = module_class.load_from_checkpoint(checkpoint, map_location="cpu", weights_only=plain)
        datamodule = None if data_class is None else data_class(**config.get("data", {}))
    except (TypeError, ValueError, RuntimeError, KeyError) as error:
        raise _misfit(checkpoint, recipe, error) from error
    return FinishedRun(module, datamodule, config.get("export", {}))


def _restore(checkpoint: Path, recipe: Path, trust: Trust, call: FitCall) -> FinishedRun:
    """Give the weights of the checkpoint to the module that the script has made."""
    content, _ = _load(checkpoint, trust)
    try:
        if is_user_defined(call.module, "configure_model"):
            call.module.configure_model()
        call.module.on_load_checkpoint(content)
        call.module.load_state_dict(content["state_dict"], strict=call.module.strict_loading)
    except (TypeError, ValueError, RuntimeError, KeyError) as error:
        raise _misfit(checkpoint, recipe, error) from error
    return FinishedRun(call.module, call.datamodule, {}, call.callbacks)


def _misfit(checkpoint: Path, recipe: Path, error: Exception) -> ConfigurationError:
    return ConfigurationError(
        f"{checkpoint} does not fit {recipe}: {type(error).__name__}: {error}. Name the recipe that trained it, as it was."
    )


def _load(checkpoint: Path, trust: Trust) -> tuple[dict[str, Any], bool]:
    """Return the content, and whether it is weights and plain values, which no code is needed for."""
    try:
        foreign = torch.serialization.get_unsafe_globals_in_checkpoint(checkpoint)
        reason = f"{checkpoint} holds objects of {', '.join(sorted(foreign)[:4])} beside its weights, and unpickling them runs code"
        if foreign and not trust(reason):
            raise CheckpointError(
                f"{reason}. If it is yours, export with --trust; if not, ask for one whose hyperparameters are plain values."
            )
        content = torch.load(checkpoint, map_location="cpu", weights_only=not foreign)
    except CheckpointError:
        raise
    except Exception as error:  # what a damaged pickle raises is anyone's guess
        raise CheckpointError(
            f"{checkpoint} cannot be read as a checkpoint ({type(error).__name__}: {error}); name one that Lightning wrote, "
            "whole."
        ) from error
    if not isinstance(content, dict) or "state_dict" not in content:
        raise CheckpointError(f"{checkpoint} holds no 'state_dict'; name a checkpoint that Lightning wrote.")
    return content, not foreign


@contextmanager
def _keep_main() -> Iterator[None]:
    """A script that runs as `__main__` takes this place; pickles of its run look for their classes there."""
    kept = sys.modules["__main__"]
    try:
        yield
    finally:
        sys.modules["__main__"] = kept


def _find_classes(source: ModuleType, recipe: Path) -> tuple[type, type | None] | None:
    """The one LightningModule, and the one datamodule or None where the module has loaders; else None."""
    modules = [*_own_classes(source, LightningModule)]
    folder = recipe.resolve().parent
    beside = [m for m in list(sys.modules.values()) if Path(getattr(m, "__file__", None) or "/").parent == folder]
    data = [*dict.fromkeys(cls for place in (source, *beside) for cls in _own_classes(place, LightningDataModule))]
    if len(modules) != 1 or len(data) > 1:
        return None
    if data:
        return modules[0], data[0]
    has_loaders = "val_dataloader" in vars(modules[0]) or "train_dataloader" in vars(modules[0])
    return (modules[0], None) if has_loaders else None


def _own_classes(module: ModuleType, kind: type) -> Iterator[type]:
    for value in vars(module).values():
        if _is_class(value, kind) and value.__module__ == module.__name__:
            yield value


def _is_class(value: object, kind: type) -> bool:
    # The two packages of Lightning have classes of the same names that do not know each other.
    return isinstance(value, type) and any(cls.__name__ == kind.__name__ for cls in value.__mro__[1:])


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    import yaml  # type: ignore[import-untyped]  # Lightning brings it

    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    return values if isinstance(values, dict) else {}
