"""The validation streams of a run: long recordings on which thresholds are chosen."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from torch import Tensor
from torch.utils.data import Dataset

from lightning_esp.detection import Item, read_item
from lightning_esp.training.sources import is_user_defined
from lightning_esp.training.subject import Subject

HOOK = "validation_streams"

# Validation streams of a dry run.
SAMPLES, FRAMES = 32_000, 1_000


def has_streams(trainer: Trainer, module: LightningModule, datamodule: Any = None) -> bool:
    """Tell whether the datamodule or the LightningModule of a run has a `validation_streams()`."""
    held = datamodule if datamodule is not None else getattr(trainer, "datamodule", None)
    return is_user_defined(held, HOOK) or is_user_defined(module, HOOK)


def find_streams(subject: Subject) -> Iterable[Item] | None:
    """Return what `validation_streams()` of the datamodule, else of the LightningModule, returns; None where neither has one.

    It is called on copies, and copied itself unless it is a generator.
    """
    for holder in (subject.copy_datamodule(), subject.copy_module()):
        if is_user_defined(holder, HOOK):
            return _iterate(holder)
    return None


def take_start(items: Iterable[Item]) -> Iterator[Item]:
    """Yield the start of the first recording, which is enough for a dry run."""
    for item in islice(items, 1):
        recording, keywords = read_item(item, 0)
        yield (_cut(recording) if isinstance(recording, Tensor) else recording), keywords


def _cut(recording: Tensor) -> Tensor:
    """Two seconds of samples, or some windows of frames; which axis is time is not known here, but it is a long one."""
    if recording.dim() == 1:
        return recording[:SAMPLES]
    for axis, size in enumerate(recording.shape):
        recording = recording.narrow(axis, 0, min(size, FRAMES))
    return recording


def _iterate(holder: Any) -> Iterator[Item]:
    found = holder.validation_streams()
    if not isinstance(found, Iterator):
        found = _copy(found)
    if isinstance(found, Dataset) and not hasattr(found, "__iter__"):
        # It has a length and items; not every one ends an iteration by an IndexError.
        dataset: Any = found
        found = (dataset[index] for index in range(len(dataset)))
    yield from found


def _copy(items: Any) -> Any:
    try:
        return copy.deepcopy(items)
    except Exception:  # what copying someone's class raises is anyone's guess
        return items
