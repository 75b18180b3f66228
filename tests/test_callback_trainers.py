"""Training of every kind exports the same way: compiled, in mixed precision, in two processes, by either package."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as unified
import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from lightning_esp.bundle import read_bundle
from lightning_esp.callback import EspStreamingExport
from lightning_esp.errors import LightningEspError
from tests.models.fake_export import FakeExport
from tests.models.runs import fit, same
from tests.models.spotter import CLASSES, Clips, Net, Spotter, SpotterData

pytestmark = [pytest.mark.filterwarnings("ignore::UserWarning"), pytest.mark.filterwarnings("ignore::FutureWarning")]

SCRIPT = Path(__file__).parent / "models" / "ddp_run.py"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeExport]:
    exporter = FakeExport()
    monkeypatch.setattr("lightning_esp.callback.export", exporter)
    return exporter


class Compiled(Spotter):
    """The network is wrapped by `torch.compile`, so its state dict has other names."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.compile(Net(), backend="eager")  # type: ignore[assignment]


class InPlace(Spotter):
    def __init__(self) -> None:
        super().__init__()
        self.net.compile(backend="eager")


class Averaged(Spotter):
    """Validation runs on an average of the weights that the module keeps itself."""

    def __init__(self) -> None:
        super().__init__()
        self.ema = AveragedModel(self.net, use_buffers=True)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.ema.update_parameters(self.net)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", F.cross_entropy(self.ema(batch[0]).mean(2), batch[1]))


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (Compiled, {}),
        (InPlace, {}),
        (lambda: torch.compile(Spotter(), backend="eager"), {}),
        (Averaged, {}),
        (Spotter, {"precision": "bf16-mixed"}),
        (Spotter, {"precision": "bf16-true"}),
        (Spotter, {"precision": "64-true"}),
        (Spotter, {"gradient_clip_val": 0.1, "accumulate_grad_batches": 2}),
    ],
    ids=["child", "in place", "whole module", "averaged", "bf16-mixed", "bf16-true", "64-true", "accumulated"],
)
def test_a_plain_float32_network_is_exported(tmp_path: Path, fake: FakeExport, make: Any, options: Any) -> None:
    checkpoints = pl.callbacks.ModelCheckpoint(tmp_path / "checkpoints", monitor="val_loss", mode="max")
    _, module = fit(tmp_path, EspStreamingExport(weights="last"), checkpoints, module=make(), **options)
    dry, real = fake.calls
    for call in (dry, real):
        assert type(call.module) is Net
        assert {value.dtype for value in call.state.values()} == {torch.float32, torch.int64}
    module = getattr(module, "_orig_mod", module)
    expected = module.ema.module if isinstance(module, Averaged) else getattr(module.net, "_orig_mod", module.net)
    trained = {
        name: value.float() if value.is_floating_point() else value for name, value in expected.state_dict().items()
    }
    assert same(real.state, trained)
    assert not same(dry.state, trained)
    assert torch.allclose(torch.stack(list(real.recordings)), Clips(24, 2).x, atol=1e-2)
    assert "val_loss" in real.results[0].float_metrics


def test_the_best_checkpoint_of_a_compiled_network(tmp_path: Path, fake: FakeExport) -> None:
    checkpoints = pl.callbacks.ModelCheckpoint(tmp_path / "checkpoints", monitor="val_loss", mode="max")
    fit(tmp_path, EspStreamingExport(dry_run=False), checkpoints, module=Compiled(), max_epochs=3)
    saved = torch.load(checkpoints.best_model_path, weights_only=False)["state_dict"]
    assert torch.equal(fake.calls[0].state["conv.weight"], saved["net._orig_mod.conv.weight"])


def test_a_trainer_of_the_users_own(tmp_path: Path, fake: FakeExport) -> None:
    class Own(pl.Trainer):
        def __init__(self, folder: Path) -> None:
            super().__init__(
                callbacks=EspStreamingExport(),
                default_root_dir=folder,
                max_epochs=1,
                accelerator="cpu",
                logger=False,
                enable_progress_bar=False,
            )

    Own(tmp_path).fit(Spotter(), datamodule=SpotterData())
    assert fake.calls[-1].results[0].float_metrics.keys() == {"val_acc", "val_loss"}


class UnifiedSpotter(unified.LightningModule):
    """A module of the `lightning` package."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.cross_entropy(self.net(batch[0]).mean(2), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_acc", (self.net(batch[0]).mean(2).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), 0.02)

    def train_dataloader(self) -> Any:
        return DataLoader(Clips(48, 1), 16)

    def val_dataloader(self) -> Any:
        return DataLoader(Clips(24, 2), 16)


def test_the_unified_package(tmp_path: Path, fake: FakeExport) -> None:
    checkpoints = unified.callbacks.ModelCheckpoint(tmp_path / "checkpoints", monitor="val_acc", mode="max")
    callback = EspStreamingExport(output_dir=tmp_path / "bundle")
    assert isinstance(callback, unified.Callback)
    assert isinstance(callback, pl.Callback)
    trainer = unified.Trainer(
        callbacks=[callback, checkpoints],
        max_epochs=2,
        accelerator="cpu",
        logger=CSVLogger(tmp_path),
        enable_progress_bar=False,
    )
    trainer.fit(UnifiedSpotter())
    saved = torch.load(checkpoints.best_model_path, weights_only=False)["state_dict"]
    assert torch.equal(fake.calls[-1].state["conv.weight"], saved["net.conv.weight"])
    assert fake.calls[-1].results[0].float_metrics.keys() == {"val_acc"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_cli_of_the_unified_package(tmp_path: Path, fake: FakeExport, monkeypatch: pytest.MonkeyPatch) -> None:
    class Cli(LightningCLI):
        def add_arguments_to_parser(self, parser: Any) -> None:
            parser.add_lightning_class_args(EspStreamingExport, "export")

    monkeypatch.chdir(tmp_path)
    options = ("--trainer.fast_dev_run=1", "--trainer.accelerator=cpu", "--export.target=esp32p4")
    Cli(UnifiedSpotter, args=["fit", *options])
    assert fake.calls[-1].target == ("esp32p4",)


def run_in_two(tmp_path: Path, mode: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), str(tmp_path), mode]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_two_processes_write_one_bundle(tmp_path: Path) -> None:
    result = run_in_two(tmp_path, "export")
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stderr.count("EspStreamingExport: wrote") == 1
    assert (tmp_path / "rank_0").read_text() == (tmp_path / "rank_1").read_text()
    bundle = read_bundle(tmp_path / "bundle")
    # Rank zero evaluates all of the data, not its half of them.
    assert "on 24 recordings" in json.dumps(bundle.manifest)


def test_two_processes_train_as_one_chip(tmp_path: Path) -> None:
    result = run_in_two(tmp_path, "aware")
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stderr.count("EspQuantAwareTraining: from epoch 1 on") == 1
    assert (tmp_path / "rank_0").read_text() == (tmp_path / "rank_1").read_text()
    assert "training saw the chip: 0 of" in json.dumps(read_bundle(tmp_path / "bundle").report)


def test_two_processes_stop_together_when_the_dry_run_fails(tmp_path: Path) -> None:
    result = run_in_two(tmp_path, "refuse")
    assert result.returncode != 0
    assert "Refused has 2 child modules with parameters" in result.stderr
    assert not (tmp_path / "bundle").exists()
    assert not list(tmp_path.glob("rank_*"))


def test_the_real_thing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A run whose export fails once, and the snippet that it leaves, with nothing replaced."""

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise LightningEspError("the disk is full")

    pl.seed_everything(0, verbose=False)
    callback = EspStreamingExport(output_dir=tmp_path / "bundle", dry_run=False)
    with monkeypatch.context() as patched:
        patched.setattr("lightning_esp.callback.export", fail)
        with pytest.raises(LightningEspError, match="the disk is full"):
            fit(tmp_path, callback, max_epochs=10)
    assert (tmp_path / "FAILED.txt").is_file()
    names: dict[str, Any] = {}
    exec(caplog.text.split("To export again:")[1], names)
    bundle = read_bundle(tmp_path / "bundle")
    assert not (tmp_path / "FAILED.txt").exists()
    assert bundle.labels == SpotterData.labels
    metrics = bundle.manifest["metrics"]
    assert metrics["float"]["val_acc"] == 1.0
    assert metrics["quantized"]["esp32s3"]["val_acc"] >= 1 - 2 / 24
    assert metrics["quantized"]["esp32s3"]["output_snr_db"] > 20
    assert len(bundle.labels) == CLASSES
