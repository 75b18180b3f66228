"""What steps of the user read and hold while the callback runs them under a trainer of its own."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from lightning_esp import EspStreamingExport
from lightning_esp.errors import StepError

GENERATOR = torch.Generator().manual_seed(0)
FRAMES = torch.randn(48, 8, 40, generator=GENERATOR)
DATA = list(zip(FRAMES, (FRAMES.mean(1) > 0).long(), strict=True))


class Module(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        past = nn.ConstantPad1d((4, 0), 0.0)
        self.network = nn.Sequential(past, nn.Conv1d(8, 12, 5), nn.ReLU(), nn.Conv1d(12, 2, 1))

    def loss(self, batch: Any) -> torch.Tensor:
        return F.cross_entropy(self.network(batch[0]), batch[1])

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = self.loss(batch)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.01)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]


def fit(module: pl.LightningModule, folder: Path, datamodule: Any = None, **options: Any) -> EspStreamingExport:
    export = EspStreamingExport(output_dir=folder / "firmware")
    trainer = pl.Trainer(
        max_epochs=3,
        callbacks=[export],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        default_root_dir=folder,
        **{"enable_checkpointing": False, **options},
    )
    loaders = {} if datamodule else {
        "train_dataloaders": DataLoader(DATA[:32], 8),
        "val_dataloaders": DataLoader(DATA[32:], 8),
    }  # fmt: skip
    trainer.fit(module, datamodule=datamodule, **loaders)
    return export


class Reader(Module):
    """Reads what people read of a trainer, and writes a file per epoch as Lightning's documentation says."""

    def __init__(self, diary: Any) -> None:
        super().__init__()
        self.diary, self.lock = diary, threading.Lock()
        self.network.lock = threading.Lock()
        self.epochs: list[int] = []

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        optimizer = self.optimizers()
        assert self.trainer.optimizers[0].param_groups[0]["lr"] == optimizer.param_groups[0]["lr"] <= 0.01
        assert self.lr_schedulers().step_size == 1
        assert self.trainer.max_epochs == 3
        assert 0 <= self.trainer.current_epoch == self.current_epoch <= 3
        super().validation_step(batch, batch_idx)

    def on_validation_epoch_end(self) -> None:
        if not self.trainer.sanity_checking:
            gap = self.trainer.callback_metrics["val_loss"] - self.trainer.callback_metrics["train_loss"]
            self.log("val_acc", gap.sigmoid())
            self.epochs.append(self.current_epoch)


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> tuple[Reader, EspStreamingExport]:
    folder = tmp_path_factory.mktemp("read")
    with (folder / "diary").open("w") as diary:
        module = Reader(diary)
        return module, fit(module, folder)


def test_a_step_reads_the_figures_of_the_run(read: tuple[Reader, EspStreamingExport]) -> None:
    assert read[1].bundle is not None


def test_private_runs_look_like_a_sanity_check(read: tuple[Reader, EspStreamingExport]) -> None:
    assert read[0].epochs == [0, 1, 2]


def test_a_metric_that_a_sanity_check_leaves_out_is_named(read: tuple[Reader, EspStreamingExport]) -> None:
    assert read[1].bundle is not None
    (note,) = [n for n in read[1].bundle.report["targets"]["esp32s3"]["notes"] if "sanity check" in n]
    assert note.startswith("val_acc: logged in training, but not where the callback ran validation_step")


class Guarded(Module):
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        if not self.trainer.sanity_checking:
            super().validation_step(batch, batch_idx)


def test_a_step_that_does_nothing_in_a_sanity_check_runs_all_the_same(tmp_path: Path) -> None:
    bundle = fit(Guarded(), tmp_path).bundle
    assert bundle is not None
    assert set(bundle.manifest["metrics"]["float"]) == {"val_loss"}


class Needy(Module):
    def on_validation_epoch_end(self) -> None:
        self.trainer.callback_metrics["train_loss"]


def test_what_fails_names_hook_and_guard_before_the_first_epoch(tmp_path: Path) -> None:
    with pytest.raises(StepError) as caught:
        fit(Needy(), tmp_path, num_sanity_val_steps=0)
    message = str(caught.value)
    assert message.startswith("on_validation_epoch_end of Needy failed while EspStreamingExport ran validation_step")
    assert "KeyError: 'train_loss' (test_callback_private_runs.py, line " in message
    assert "if not self.trainer.sanity_checking" in message
    assert isinstance(caught.value.__cause__, KeyError)


class Data(pl.LightningDataModule):
    def train_dataloader(self) -> Any:
        return DataLoader(DATA[:32], 8)

    def val_dataloader(self) -> Any:
        return DataLoader(DATA[32:], 8)

    def test_dataloader(self) -> Any:
        raise FileNotFoundError("no test set on this machine")


class Evaluated(Module):
    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test_loss", self.loss(batch))


def test_test_data_that_are_not_there_leave_a_note(tmp_path: Path) -> None:
    bundle = fit(Evaluated(), tmp_path, Data()).bundle
    assert bundle is not None
    notes = bundle.report["targets"]["esp32s3"]["notes"]
    assert any("test data were not evaluated" in note and "FileNotFoundError: no test set" in note for note in notes)
