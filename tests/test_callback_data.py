"""Which module the callback exports, and with which recordings."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from lightning_esp.callback import EspStreamingExport
from lightning_esp.config import Calibration
from lightning_esp.errors import (
    ConfigurationError,
    DataError,
    ModuleNotFoundInBatchError,
)
from tests.models.fake_export import FakeExport
from tests.models.runs import fit
from tests.models.spotter import BANDS, FRAMES, Clips, Net, Spotter, SpotterData

pytestmark = [pytest.mark.filterwarnings("ignore::UserWarning"), pytest.mark.filterwarnings("ignore::FutureWarning")]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeExport]:
    exporter = FakeExport()
    monkeypatch.setattr("lightning_esp.callback.export", exporter)
    return exporter


class TwoParts(Spotter):
    """An encoder before the network, and a loss with parameters of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Conv1d(BANDS, BANDS, 1)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.net(self.encoder(batch[0])).square().mean())


def test_several_children_are_listed_and_the_advice_works(tmp_path: Path, fake: FakeExport) -> None:
    with pytest.raises(ConfigurationError) as caught:
        fit(tmp_path, EspStreamingExport(), module=TwoParts())
    message = str(caught.value)
    assert (
        "EspStreamingExport(module=None): TwoParts has 2 child modules with parameters, 'net' (Net), 'encoder'"
        in message
    )
    assert "EspStreamingExport(module='net')" in message
    _, module = fit(tmp_path, EspStreamingExport(module="net", dry_run=False), module=TwoParts())
    # The recordings are what comes out of the encoder.
    expected = module.encoder(Clips(24, 2).x).detach()
    assert torch.allclose(torch.stack(list(fake.calls[0].recordings)), expected, atol=1e-6)


def test_a_path_that_does_not_exist(tmp_path: Path, fake: FakeExport) -> None:
    with pytest.raises(ConfigurationError, match=r"module='nett'.*Spotter has no submodule.*'net', 'val_acc'"):
        fit(tmp_path, EspStreamingExport(module="nett"))


def test_the_lightning_module_itself(tmp_path: Path, fake: FakeExport) -> None:
    class Whole(TwoParts):
        def forward(self, x: Tensor) -> Tensor:
            return self.net(self.encoder(x))

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", self(batch[0]).square().mean())

    fit(tmp_path, EspStreamingExport(module=".", dry_run=False), module=Whole())
    assert isinstance(fake.calls[0].module, Whole)
    assert torch.equal(torch.stack(list(fake.calls[0].recordings)), Clips(24, 2).x)
    assert fake.calls[0].results[0].float_metrics.keys() == {"val_loss"}


def test_a_module_that_the_step_does_not_call(tmp_path: Path, fake: FakeExport) -> None:
    class Around(Spotter):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", self.net.forward(batch[0]).mean())

    with pytest.raises(ModuleNotFoundInBatchError) as caught:
        fit(tmp_path, EspStreamingExport(), module=Around())
    message = str(caught.value)
    assert (
        "module 'net' (Net) was never called with a tensor while Around.validation_step ran on 1 batch(es)" in message
    )
    assert "The step must call the module itself (self.net(x))" in message


def test_an_empty_loader(tmp_path: Path, fake: FakeExport) -> None:
    loaders = {"train_dataloaders": DataLoader(Clips(), 8), "val_dataloaders": DataLoader(Clips(0), 8)}
    with pytest.raises(DataError, match=r"the validation data gave no batch.*calibration_dataloader"):
        fit(tmp_path, EspStreamingExport(), **loaders)


def test_calibration_data_come_first(tmp_path: Path, fake: FakeExport) -> None:
    class Data(SpotterData):
        def calibration_dataloader(self) -> DataLoader[Any]:
            return DataLoader(Clips(5, 9), 2)

    fit(tmp_path, EspStreamingExport(dry_run=False), datamodule=Data())
    assert torch.equal(torch.stack(list(fake.calls[0].recordings)), Clips(5, 9).x)


def test_training_data_are_used_where_there_is_no_validation(tmp_path: Path, fake: FakeExport) -> None:
    class TrainOnly(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = Net()

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return self.net(batch[0]).square().mean()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.01)

    class Paired(TrainOnly):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return super().training_step(batch["a"], batch_idx) + self.net(batch["b"][0]).mean()

    class Manual(TrainOnly):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
            loss = super().training_step(batch, batch_idx)
            self.optimizers().zero_grad()  # type: ignore[union-attr]
            self.manual_backward(loss)
            self.optimizers().step()  # type: ignore[union-attr]

    for module in (TrainOnly(), Manual()):
        fit(tmp_path, EspStreamingExport(), module=module, train_dataloaders=DataLoader(Clips(20), 8, shuffle=True))
        assert torch.equal(torch.stack(list(fake.calls[-1].recordings)), Clips(20).x)
        assert "no validation data" in fake.calls[-1].results[0].notes[0]
    pair = {"a": DataLoader(Clips(20), 8), "b": DataLoader(Clips(20, 1), 8)}
    fit(tmp_path, EspStreamingExport(), module=Paired(), train_dataloaders=pair)
    assert torch.equal(fake.calls[-1].recordings[0], Clips(20).x[0])
    assert torch.equal(fake.calls[-1].recordings[8], Clips(20, 1).x[0])


class Waves(Spotter):
    """A front end that makes a frame of 10 samples stands before the network; batches are padded mappings."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.scores(batch).square().mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.scores(batch).square().mean())

    def scores(self, batch: Any) -> Tensor:
        return self.net(batch["waves"].unfold(2, 10, 10).mean(3))

    @staticmethod
    def collate(items: Any) -> Any:
        lengths = [40 + 10 * label for _, label in items]
        waves = torch.ones(len(items), BANDS, 100)
        for wave, length in zip(waves, lengths, strict=True):
            wave[:, length:] = 0
        return {"waves": waves, "lengths": torch.tensor(lengths)}


def test_padding_stays_out(tmp_path: Path, fake: FakeExport) -> None:
    loader = DataLoader(Clips(9), 4, collate_fn=Waves.collate)
    fit(tmp_path, EspStreamingExport(), module=Waves(), train_dataloaders=loader, val_dataloaders=loader)
    for call in fake.calls:
        shapes = [tuple(recording.shape) for recording in call.recordings]
        assert shapes == ([(BANDS, 4), (BANDS, 5), (BANDS, 6)] * 3)[: len(shapes)]
        assert all(bool((recording == 1).all()) for recording in call.recordings)


class Endless(IterableDataset[Any]):
    """A stream without end or length."""

    def __iter__(self) -> Iterator[Any]:
        generator = torch.Generator().manual_seed(0)
        while True:
            yield torch.randn(BANDS, FRAMES, generator=generator), 1


def test_an_endless_stream_stops_at_max_recordings(tmp_path: Path, fake: FakeExport) -> None:
    loaders = {"train_dataloaders": DataLoader(Endless(), 4), "val_dataloaders": DataLoader(Endless(), 4)}
    limits = {"limit_train_batches": 2, "limit_val_batches": 2}
    fit(tmp_path, EspStreamingExport(calibration=Calibration(max_recordings=10)), **loaders, **limits)
    assert len(fake.calls[-1].recordings) == 10


def test_a_data_set_that_cannot_be_copied(tmp_path: Path, fake: FakeExport, caplog: pytest.LogCaptureFixture) -> None:
    class Locked(Clips):
        def __deepcopy__(self, memo: Any) -> Any:
            raise TypeError("cannot pickle a lock")

    loaders = {"train_dataloaders": DataLoader(Locked(20), 8), "val_dataloaders": DataLoader(Locked(12, 1), 8)}
    with caplog.at_level(logging.INFO):
        fit(tmp_path, EspStreamingExport(), **loaders)
    assert "Locked can't be copied (TypeError: cannot pickle a lock)" in caplog.text
    assert "uses one random input of the shape captured there" in caplog.text
    dry, real = fake.calls
    assert [recording.shape for recording in dry.recordings] == [(BANDS, FRAMES)]
    assert torch.equal(torch.stack(list(real.recordings)), Clips(12, 1).x)


def test_without_any_data_export_says_so(tmp_path: Path, fake: FakeExport) -> None:
    trainer = pl.Trainer(default_root_dir=tmp_path, accelerator="cpu", logger=False, enable_checkpointing=False)
    with pytest.raises(DataError, match="no data to calibrate 'net'"):
        EspStreamingExport().export(trainer, Spotter())
    bundle = EspStreamingExport().export(trainer, Spotter(), SpotterData())
    assert bundle is not None
    assert len(fake.calls[0].recordings) == 24


class Grid(Spotter):
    """A network over bins and frames alike."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Conv2d(1, 2, 1)  # type: ignore[assignment]

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.net(batch).square().mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val_loss", self.net(batch).square().mean())


def test_batches_of_other_lengths_tell_the_dry_run_too_which_axis_is_time(tmp_path: Path, fake: FakeExport) -> None:
    items = [torch.randn(1, BANDS, frames) for frames in (12,) * 9 + (15,) * 9]

    def pad(rows: list[Tensor]) -> Tensor:
        longest = max(row.shape[-1] for row in rows)
        return torch.stack([nn.functional.pad(row, (0, longest - row.shape[-1])) for row in rows])

    loader = DataLoader(items, 9, collate_fn=pad)  # type: ignore[arg-type, var-annotated]
    fit(tmp_path, EspStreamingExport(), module=Grid(), train_dataloaders=loader, val_dataloaders=loader)
    dry, real = fake.calls
    # All that a dry run takes has one length.
    assert len({tuple(recording.shape) for recording in dry.recordings}) == 1
    assert [call.options[0].time_axis for call in (dry, real)] == [3, 3]
