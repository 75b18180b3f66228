"""Short training runs."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from tests.models.spotter import Spotter, SpotterData


def fit(tmp_path: Path, callback: pl.Callback, *callbacks: pl.Callback, module: Any = None, **options: Any) -> Any:
    """Train a spotter and return its trainer and module."""
    data = {
        name: options.pop(name) for name in ("train_dataloaders", "val_dataloaders", "datamodule") if name in options
    }
    defaults = {"max_epochs": 2, "logger": False, "enable_progress_bar": False, "enable_checkpointing": bool(callbacks)}
    trainer = pl.Trainer(
        callbacks=[callback, *callbacks],
        default_root_dir=tmp_path,
        accelerator="cpu",
        enable_model_summary=False,
        **{**defaults, **options},
    )
    module = Spotter() if module is None else module
    trainer.fit(module, **(data or {"datamodule": SpotterData()}))
    return trainer, module


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
