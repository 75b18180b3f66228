"""A finished run, from its checkpoint: the LightningModule, the datamodule, and the options of its export."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from pytorch_lightning import LightningDataModule, LightningModule

from lightning_esp.errors import ConfigurationError


@dataclass(frozen=True)
class FinishedRun:
    """What an export needs of a run.

    Args:
        module: with the weights of the checkpoint.
        datamodule: with the options of the run.
        options: `export` of the run's `config.yaml`; empty where there is none.
    """

    module: Any
    datamodule: Any
    options: dict[str, Any]


def read_run(checkpoint: Path, recipe: Path) -> FinishedRun:
    """Build what trained a checkpoint.

    Args:
        checkpoint: a `.ckpt` file of Lightning. The `config.yaml` that LightningCLI keeps in the directory of the run, one
            above `checkpoints`, tells the options of the data and of the export; without it they are the defaults.
        recipe: a Python file that defines one LightningModule, and defines or imports one LightningDataModule.

    Raises:
        ConfigurationError: a file does not exist, or a class cannot be found or built.
    """
    for path in (checkpoint, recipe):
        if not path.is_file():
            raise ConfigurationError(f"{path} is not a file; name a checkpoint, and --recipe the file that trained it.")
    source = _import(recipe)
    classes = [value for value in vars(source).values() if _is_class(value, LightningModule)]
    module_class = _only([cls for cls in classes if cls.__module__ == source.__name__], "LightningModule", recipe)
    data_class = _only(_data_classes(source, recipe), "LightningDataModule", recipe)
    config = _read_config(checkpoint.parent.parent / "config.yaml")
    try:
        module = module_class.load_from_checkpoint(checkpoint, map_location="cpu", weights_only=False)
        datamodule = data_class(**config.get("data", {}))
    except (TypeError, ValueError, RuntimeError, KeyError) as error:
        raise ConfigurationError(
            f"{checkpoint} does not fit {recipe}: {type(error).__name__}: {error}. Name the recipe that trained it, as it was."
        ) from error
    return FinishedRun(module, datamodule, config.get("export", {}))


def _import(recipe: Path) -> ModuleType:
    folder = str(recipe.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    found = importlib.util.spec_from_file_location(recipe.stem, recipe)
    assert found is not None
    assert found.loader is not None
    source = importlib.util.module_from_spec(found)
    # Pickles name the classes of a recipe by its module.
    sys.modules[recipe.stem] = source
    found.loader.exec_module(source)
    return source


def _data_classes(source: ModuleType, recipe: Path) -> list[type]:
    """Those of the recipe and of the files beside it that it imports."""
    folder = recipe.resolve().parent
    beside = [m for m in list(sys.modules.values()) if Path(getattr(m, "__file__", None) or "/").parent == folder]
    return [*dict.fromkeys(cls for module in (source, *beside) for cls in _own_data_classes(module))]


def _own_data_classes(module: ModuleType) -> Iterator[type]:
    for value in vars(module).values():
        if _is_class(value, LightningDataModule) and value.__module__ == module.__name__:
            yield value


def _is_class(value: object, name: type) -> bool:
    # The two packages of Lightning have classes of the same names that do not know each other.
    return isinstance(value, type) and any(cls.__name__ == name.__name__ for cls in value.__mro__[1:])


def _only(classes: list[Any], kind: str, recipe: Path) -> Any:
    if len(classes) != 1:
        names = ", ".join(cls.__name__ for cls in classes) or "none"
        raise ConfigurationError(
            f"{recipe} must have one {kind}, but has {names}; name the file that trained the checkpoint."
        )
    return classes[0]


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    import yaml  # type: ignore[import-untyped]  # Lightning brings it

    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    return values if isinstance(values, dict) else {}
