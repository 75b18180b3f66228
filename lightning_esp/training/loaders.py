"""Loaders of our own over the user's data: no workers, no shuffling, and nothing of the user's is iterated."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, Sampler, SequentialSampler, Subset
from torch.utils.data.distributed import DistributedSampler

PLAIN_SAMPLERS = (RandomSampler, SequentialSampler, DistributedSampler)


@dataclass(frozen=True)
class PrivateLoaders:
    """Substitutes for the user's loaders.

    Args:
        loaders: of the same structure: one iterable, or a list or mapping of them.
        failure: why data could not be copied, so that the user's own would be iterated; empty where all were copied.
    """

    loaders: Any
    failure: str = ""


def make_private(loaders: Any, *, limit: int | None = None, seed: int = 0) -> PrivateLoaders:
    """Build loaders over copies of the data behind `loaders`.

    Args:
        loaders: a loader, or a list, tuple, mapping or `CombinedLoader` of them.
        limit: recordings to draw at random from each dataset that has a length; None: all, in order.
        seed: seed of that draw.
    """
    failures: list[str] = []

    def build(loader: Any) -> Any:
        built, failure = _private_loader(loader, limit, seed)
        failures.extend([failure] if failure else [])
        return built

    built = map_loaders(loaders, build)
    return PrivateLoaders(built, failures[0] if failures else "")


def map_loaders(loaders: Any, function: Callable[[Any], Any]) -> Any:
    """Apply `function` to every loader of a collection of them."""
    if isinstance(loaders, Mapping):
        return {name: map_loaders(value, function) for name, value in loaders.items()}
    if isinstance(loaders, list | tuple):
        return [map_loaders(value, function) for value in loaders]
    if hasattr(loaders, "iterables") and hasattr(loaders, "_mode"):  # Lightning's CombinedLoader, of either package
        return type(loaders)(map_loaders(loaders.iterables, function), loaders._mode)
    return function(loaders)


def _private_loader(loader: Any, limit: int | None, seed: int) -> tuple[Any, str]:
    if not isinstance(loader, DataLoader):
        return _copy_or_share(loader)
    custom_batches = loader.batch_size is None and loader.batch_sampler is not None
    sampler: Any = loader.batch_sampler if custom_batches else _custom_sampler(loader)
    # One copy of all three: a sampler or a bound collate function may refer to the dataset.
    (dataset, sampler, collate), failure = _copy_or_share((loader.dataset, sampler, loader.collate_fn))
    options: dict[str, Any] = {"collate_fn": collate, "num_workers": 0}
    if custom_batches:
        return DataLoader(dataset, batch_sampler=sampler, **options), failure
    options |= {"batch_size": loader.batch_size, "sampler": sampler}
    if loader.batch_size is not None:
        options["drop_last"] = loader.drop_last and limit is None
    if sampler is None and limit is not None and not isinstance(dataset, IterableDataset):
        dataset = _draw(dataset, limit, seed)
    return DataLoader(dataset, **options), failure


def _custom_sampler(loader: DataLoader[Any]) -> Sampler[Any] | Iterable[Any] | None:
    """A sampler that chooses data, such as one half of a split; one that only shuffles is left out."""
    if isinstance(loader.dataset, IterableDataset) or isinstance(loader.sampler, PLAIN_SAMPLERS):
        return None
    return loader.sampler


def _copy_or_share(data: Any) -> tuple[Any, str]:
    try:
        return copy.deepcopy(data), ""
    except Exception as error:  # what copying someone's class raises is anyone's guess
        first = data[0] if isinstance(data, tuple) else data
        return data, f"{type(first).__name__} can't be copied ({type(error).__name__}: {error})"


def _draw(dataset: Any, limit: int, seed: int) -> Any:
    total = len(dataset)
    if total <= limit:
        return dataset
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
    return Subset(dataset, sorted(order[:limit].tolist()))


@dataclass(frozen=True)
class UntilEnough:
    """Iterates over a loader until `enough()`, before each batch; counts nothing and knows no length.

    Args:
        loader: any iterable.
        enough: asked before every batch.
    """

    loader: Iterable[Any]
    enough: Callable[[], bool]

    def __iter__(self) -> Iterator[Any]:
        for batch in self.loader:
            if self.enough():
                return
            yield batch
