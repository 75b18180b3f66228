"""Recovery of a run whose export failed: its weights on disk, and code that exports again."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import nn

from lightning_esp.conversion import Recording
from lightning_esp.detection import Item
from lightning_esp.frontend import FrontEnd, Normalize
from lightning_esp.training.package import package_of
from lightning_esp.training.settings import describe_arguments


def save_weights(module: LightningModule, datamodule: Any, path: Path) -> Path:
    """Write the weights that a module holds as a checkpoint; unlike `Trainer.save_checkpoint` it waits for no process."""
    content: dict[str, Any] = {
        "state_dict": module.state_dict(),
        "pytorch-lightning_version": sys.modules[package_of(module)].__version__,
    }
    for holder in (module, datamodule):
        if holder is not None and holder.hparams:
            content[holder.CHECKPOINT_HYPER_PARAMS_NAME] = getattr(holder, "_hparams_name", "kwargs")
            content[holder.CHECKPOINT_HYPER_PARAMS_KEY] = dict(holder.hparams)
    module.on_save_checkpoint(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


def save_material(
    module: nn.Module,
    recordings: Sequence[Recording],
    front_end: FrontEnd | Normalize | None,
    streams: Sequence[Item] | None,
    path: Path,
) -> Path | None:
    """Write the module, its recordings, what makes features of them and validation streams, all that `export` needs.

    Returns:
        `path`; None where the module cannot be pickled.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        content = {"module": module, "recordings": list(recordings), "front_end": front_end}
        torch.save(content | ({} if streams is None else {"streams": streams}), path)
    except Exception:  # a class inside a function, a lambda: whatever pickle says, there is another way
        path.unlink(missing_ok=True)
        return None
    return path


@dataclass(frozen=True)
class Retry:
    """An export that can be made again.

    Args:
        trainer: the user's trainer.
        module: the user's LightningModule.
        datamodule: the user's datamodule, or None.
        checkpoint: the weights.
        material: what `save_material` has written, or None.
        arguments: arguments that `EspStreamingExport` and `export` share.
        complete: the same, with what the callback would have found out itself.
        path: `EspStreamingExport(module=...)`.
    """

    trainer: Any
    module: LightningModule
    datamodule: Any
    checkpoint: Path
    material: Path | None
    arguments: Mapping[str, Any]
    complete: Mapping[str, Any]
    path: str | None

    def code(self) -> str:
        """Python code that exports again.

        It runs as it is where LightningModule and datamodule can be built from the checkpoint, or material was saved; else
        the places to fill in are marked by `...`.
        """
        complete = _builds(self.module) and self.datamodule is not None and _builds(self.datamodule)
        lines = self._from_checkpoint() if complete or self.material is None else self._from_material()
        return "\n".join(lines)

    def _from_material(self) -> list[str]:
        return [
            "import torch",
            *import_names(describe_arguments(self.complete), "export"),
            "",
            f"# The network with the weights of {self.checkpoint}, its recordings, its front end and streams.",
            f"saved = torch.load({str(self.material)!r}, weights_only=False)",
            f"bundle = export(**saved, {describe_arguments(self.complete)})",
        ]

    def _from_checkpoint(self) -> list[str]:
        held = [self.module] if self.datamodule is None else [self.module, self.datamodule]
        missing = "...  # the datamodule of your run"
        options = {"weights": "last", **({} if self.path is None else {"module": self.path}), **self.arguments}
        return [
            f"import {package_of(self.trainer)} as pl",
            *import_names(describe_arguments(options), "EspStreamingExport"),
            *_imports(*held),
            "",
            f"module = {_construct(self.module, self.checkpoint)}",
            f"datamodule = {missing if self.datamodule is None else _construct(self.datamodule, self.checkpoint)}",
            'trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)',
            f"bundle = EspStreamingExport({describe_arguments(options)}).export(trainer, module, datamodule)",
        ]


def import_names(arguments: str, *others: str) -> list[str]:
    """Return imports of what arguments name as code, options of ours and infinity, and of other names of the package."""
    nodes = ast.walk(ast.parse(f"_({arguments})", mode="eval"))
    used = {node.id for node in nodes if isinstance(node, ast.Name)} - {"_"}
    numbers, options = sorted(used & {"inf", "nan"}), sorted(used - {"inf", "nan", "np"} | set(others))
    return [
        *([f"from math import {', '.join(numbers)}"] if numbers else []),
        *(["import numpy as np"] if "np" in used else []),
        f"from lightning_esp import {', '.join(options)}",
    ]


def _required(cls: type) -> set[str]:
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_ONLY)
    parameters = inspect.signature(cls).parameters.values()
    return {p.name for p in parameters if p.kind in kinds and p.default is inspect.Parameter.empty}


def _builds(instance: Any) -> bool:
    """Tell whether the class can be imported, and built from the hyperparameters in its checkpoint."""
    cls = type(instance)
    found: Any = sys.modules.get(cls.__module__)
    for name in cls.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is cls and _required(cls) <= set(instance.hparams)


def _construct(instance: Any, checkpoint: Path) -> str:
    name = type(instance).__name__
    if not _builds(instance):
        return f"...  # {name} as in your run" + (
            f", with load_state_dict(torch.load({str(checkpoint)!r}, weights_only=False)['state_dict'])"
            if isinstance(instance, torch.nn.Module)
            else ""
        )
    if isinstance(instance, torch.nn.Module) or instance.hparams:
        return f'{name}.load_from_checkpoint({str(checkpoint)!r}, map_location="cpu", weights_only=False)'
    return f"{name}()"


def _imports(*instances: Any) -> list[str]:
    lines: list[str] = []
    for cls in map(type, instances):
        name = cls.__qualname__.split(".")[0]
        script = getattr(sys.modules["__main__"], "__file__", None)
        if cls.__module__ != "__main__":
            lines.append(f"from {cls.__module__} import {name}")
        elif script is None:
            lines.append(f"# {name} is the class of your notebook.")
        else:
            folder, stem = str(Path(script).resolve().parent), Path(script).stem
            lines += ["import sys", f"sys.path.insert(0, {folder!r})", f"from {stem} import {name}"]
    return list(dict.fromkeys(lines))
