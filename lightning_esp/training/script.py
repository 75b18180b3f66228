"""A training script, run up to its `fit`: the model, the data and the callbacks that it trains with."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from lightning_esp.errors import ConfigurationError
from lightning_esp.training.package import package_of


@dataclass(frozen=True)
class FitCall:
    """Arguments that a script gave to `Trainer.fit`.

    Args:
        module: the LightningModule.
        datamodule: the datamodule, or one made of the loaders; None where the module has its own.
        callbacks: those of the trainer.
    """

    module: Any
    datamodule: Any
    callbacks: tuple[Any, ...]


class _FitReachedError(BaseException):
    """Leaves a script at its `fit`; no `except Exception` of the script's stops it."""

    def __init__(self, call: FitCall) -> None:
        super().__init__("fit")
        self.call = call


def run_script(path: Path, name: str, arguments: Sequence[str]) -> tuple[ModuleType, FitCall | None]:
    """Run a Python file until it calls `Trainer.fit`, which does nothing but to end the run.

    Args:
        path: the file.
        name: `"__main__"` to run it as a script, or its stem to import it.
        arguments: what it finds in `sys.argv`, behind its own name.

    Returns:
        Its names, and what it gave to `fit`; None where it ended without.

    Raises:
        ConfigurationError: it failed before.
    """
    found = importlib.util.spec_from_file_location(name, path)
    assert found is not None
    assert found.loader is not None
    source = importlib.util.module_from_spec(found)
    # Pickles name the classes of a script by its module.
    sys.modules[name] = source
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    given, sys.argv = sys.argv, [str(path), *arguments]
    try:
        with _catch_fit():
            found.loader.exec_module(source)
    except _FitReachedError as reached:
        return source, reached.call
    except (Exception, SystemExit) as error:
        raise ConfigurationError(f"{path}{_line(error, path)} ended before its fit: {_told(error)}") from error
    finally:
        sys.argv = given
    return source, None


def _line(error: BaseException, path: Path) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == path.resolve()]
    return f", line {lines[-1]}," if lines else ""


def _told(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return "it exited. Give the arguments that it was trained with behind `--`, as in `export CKPT --recipe FILE -- fit`."
    return f"{type(error).__name__}: {error}. Run it by itself to see more."


@contextmanager
def _catch_fit() -> Iterator[None]:
    """Let `fit` of every installed Lightning end the script."""
    trainers = [
        importlib.import_module(name).Trainer for name in ("pytorch_lightning", "lightning.pytorch") if _has(name)
    ]
    kept = [trainer.fit for trainer in trainers]
    for trainer in trainers:
        trainer.fit = _stop_at_fit
    try:
        yield
    finally:
        for trainer, fit in zip(trainers, kept, strict=True):
            trainer.fit = fit


def _has(package: str) -> bool:
    return importlib.util.find_spec(package.partition(".")[0]) is not None


def _stop_at_fit(
    trainer: Any,
    model: Any,
    train_dataloaders: Any = None,
    val_dataloaders: Any = None,
    datamodule: Any = None,
    *_: Any,
    **__: Any,
) -> None:
    if hasattr(train_dataloaders, "prepare_data_per_node"):
        datamodule, train_dataloaders = train_dataloaders, None
    module = getattr(model, "_orig_mod", model)
    loaders = {"train_dataloader": train_dataloaders, "val_dataloader": val_dataloaders}
    if datamodule is None and any(loader is not None for loader in loaders.values()):
        datamodule = importlib.import_module(package_of(module)).LightningDataModule()
        for name, loader in loaders.items():
            if loader is not None:
                setattr(datamodule, name, partial(_return, loader))
    raise _FitReachedError(FitCall(module, datamodule, tuple(trainer.callbacks)))


def _return(loader: Any) -> Any:
    return loader
