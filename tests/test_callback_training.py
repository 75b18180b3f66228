"""Training is the same to the bit with and without the callback, whatever draws random numbers in it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, random_split

from lightning_esp.callback import EspStreamingExport
from tests.models.fake_export import FakeExport
from tests.models.spotter import Clips, Spotter, SpotterData

pytestmark = [pytest.mark.filterwarnings("ignore::UserWarning"), pytest.mark.filterwarnings("ignore::FutureWarning")]


class Stream(IterableDataset[Any]):
    """Clips in an order drawn from an RNG of its own, different in every epoch."""

    def __init__(self, seed: int) -> None:
        self.clips = Clips(24, seed, draw=True)
        self.generator = torch.Generator().manual_seed(seed)

    def __iter__(self) -> Iterator[Any]:
        for index in torch.randperm(len(self.clips), generator=self.generator).tolist():
            yield self.clips[index]


class SplitData(SpotterData):
    """Splits with a generator of its own whenever a loader is made, as no one should."""

    def setup(self, stage: str) -> None:
        self.all = Clips(72, 1)
        self.generator = torch.Generator().manual_seed(3)

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(random_split(self.all, [48, 24], self.generator)[0], 16, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(random_split(self.all, [48, 24], self.generator)[1], 16)


def loaders(dataset: Callable[[int], Any] = lambda seed: Clips(48, seed), **options: Any) -> dict[str, Any]:
    return {
        "train_dataloaders": DataLoader(dataset(1), 16, **options),
        "val_dataloaders": DataLoader(dataset(2), 16, **{**options, "shuffle": None}),
    }


CASES: dict[str, Callable[[], dict[str, Any]]] = {
    "plain": lambda: loaders(shuffle=True),
    "workers": lambda: loaders(shuffle=True, num_workers=2),
    "persistent workers": lambda: loaders(shuffle=True, num_workers=1, persistent_workers=True),
    "generator": lambda: loaders(shuffle=True, generator=torch.Generator().manual_seed(5)),
    "dataset with an RNG": lambda: loaders(lambda seed: Clips(48, seed, draw=True), shuffle=True),
    "iterable": lambda: loaders(Stream),
    "training data only": lambda: {
        "train_dataloaders": loaders(lambda s: Clips(48, s, draw=True))["train_dataloaders"]
    },
    "datamodule": lambda: {"datamodule": SpotterData()},
    "datamodule with an RNG": lambda: {"datamodule": SplitData()},
}


def train(tmp_path: Path, data: dict[str, Any], *callbacks: pl.Callback) -> dict[str, Tensor]:
    pl.seed_everything(7, verbose=False)
    trainer = pl.Trainer(
        callbacks=list(callbacks),
        max_epochs=2,
        default_root_dir=tmp_path,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    module = Spotter()
    trainer.fit(module, **data)
    drawn = {"next random number": torch.rand(1)}
    return {**module.state_dict(), **drawn}


@pytest.mark.parametrize("name", CASES)
def test_weights_are_the_same_to_the_bit(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = FakeExport()
    monkeypatch.setattr("lightning_esp.callback.export", exporter)
    without = train(tmp_path, CASES[name]())
    with_callback = train(tmp_path, CASES[name](), EspStreamingExport(output_dir=tmp_path / "bundle"))
    assert len(exporter.calls) == 2, "the dry run and the export"
    different = [key for key, value in without.items() if not torch.equal(value, with_callback[key])]
    assert different == []


def test_the_test_sees_a_callback_that_draws(tmp_path: Path) -> None:
    class Careless(pl.Callback):
        def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            torch.rand(1)

    without, with_callback = (train(tmp_path, CASES["plain"](), *c) for c in ((), (Careless(),)))
    assert not torch.equal(without["net.conv.weight"], with_callback["net.conv.weight"])
