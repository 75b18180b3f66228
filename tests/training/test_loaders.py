"""Private loaders give the user's data and leave the user's loaders, datasets and generators as they were."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from pytorch_lightning.utilities import CombinedLoader
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, SequentialSampler, SubsetRandomSampler

from lightning_esp.training.loaders import UntilEnough, make_private


class Numbers(Dataset[int]):
    def __init__(self, count: int = 20) -> None:
        self.count = count
        self.read: list[int] = []

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> int:
        self.read.append(index)
        return index

    def collate(self, items: list[int]) -> torch.Tensor:
        self.read.append(-1)
        return torch.tensor(items)


class Counting(IterableDataset[int]):
    def __init__(self) -> None:
        self.next = 0

    def __iter__(self) -> Iterator[int]:
        while self.next < 6:
            self.next += 1
            yield self.next


def numbers(loader: Any) -> list[int]:
    return [int(n) for batch in loader for n in batch]


def test_the_data_come_in_order_and_none_of_the_users_is_read() -> None:
    data, generator = Numbers(), torch.Generator().manual_seed(0)
    state = generator.get_state()
    private = make_private(
        DataLoader(data, 6, shuffle=True, generator=generator, collate_fn=data.collate, drop_last=True)
    )
    assert private.failure == ""
    assert numbers(private.loaders) == list(range(18))
    assert data.read == []
    assert torch.equal(generator.get_state(), state)


def test_a_limit_draws_at_random_and_drops_nothing() -> None:
    def drawn(seed: int) -> list[int]:
        return numbers(make_private(DataLoader(Numbers(), 8, drop_last=True), limit=5, seed=seed).loaders)

    assert len(drawn(0)) == 5
    assert drawn(0) == sorted(drawn(0))
    assert drawn(0) == drawn(0)
    assert drawn(0) != drawn(1)
    assert numbers(make_private(DataLoader(Numbers(), 8), limit=50).loaders) == list(range(20))


def test_a_sampler_that_chooses_data_is_kept() -> None:
    chosen = SubsetRandomSampler([3, 5, 7], generator=torch.Generator().manual_seed(0))
    assert sorted(numbers(make_private(DataLoader(Numbers(), 2, sampler=chosen), limit=10).loaders)) == [3, 5, 7]


def test_batch_samplers_and_loaders_without_batches_are_kept() -> None:
    batches = BatchSampler(SequentialSampler(range(5)), 2, drop_last=False)
    found = [len(batch) for batch in make_private(DataLoader(Numbers(), batch_sampler=batches)).loaders]
    assert found == [2, 2, 1]
    assert list(make_private(DataLoader(Numbers(3), batch_size=None)).loaders) == [0, 1, 2]


def test_a_stream_is_copied() -> None:
    stream = Counting()
    private = make_private(DataLoader(stream, 4), limit=3)
    assert numbers(private.loaders) == [1, 2, 3, 4, 5, 6]
    assert stream.next == 0


def test_collections_keep_their_structure() -> None:
    loader = DataLoader(Numbers(4), 4)
    assert [numbers(part) for part in make_private([loader, loader]).loaders] == [[0, 1, 2, 3]] * 2
    assert {name: numbers(part) for name, part in make_private({"a": loader}).loaders.items()} == {"a": [0, 1, 2, 3]}
    combined = make_private(CombinedLoader([loader, loader], "sequential")).loaders
    assert isinstance(combined, CombinedLoader)
    assert combined.iterables[0] is not loader


def test_any_iterable_is_a_loader() -> None:
    class Batches:
        def __init__(self) -> None:
            self.started = 0

        def __iter__(self) -> Iterator[torch.Tensor]:
            self.started += 1
            return iter([torch.arange(3)])

    batches = Batches()
    assert numbers(make_private(batches).loaders) == [0, 1, 2]
    assert batches.started == 0


@pytest.mark.parametrize("wrap", [lambda data: data, lambda data: DataLoader(data, 2)], ids=["iterable", "dataset"])
def test_what_cannot_be_copied_is_named(wrap: Any) -> None:
    generator = (n for n in range(3))
    data = Numbers(3)
    data.open = generator  # type: ignore[attr-defined]
    private = make_private(wrap(data))
    assert private.failure.startswith("Numbers can't be copied (TypeError: ")
    assert "generator" in private.failure


def test_until_enough_asks_before_every_batch() -> None:
    seen: list[int] = []
    for batch in UntilEnough(range(10), lambda: len(seen) >= 3):
        seen.append(batch)
    assert seen == [0, 1, 2]
