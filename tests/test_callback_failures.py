"""A failed or interrupted run: what is said, what stays, and how to export again."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader

from lightning_esp.callback import EspStreamingExport
from lightning_esp.config import Streaming
from lightning_esp.errors import (
    ConversionError,
    LightningEspError,
)
from tests.models.fake_export import FakeExport
from tests.models.runs import fit, same
from tests.models.spotter import Clips, Net, Spotter, SpotterData

pytestmark = [pytest.mark.filterwarnings("ignore::UserWarning"), pytest.mark.filterwarnings("ignore::FutureWarning")]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeExport]:
    exporter = FakeExport()
    monkeypatch.setattr("lightning_esp.callback.export", exporter)
    return exporter


def test_what_cannot_be_exported_fails_before_training(tmp_path: Path, fake: FakeExport) -> None:
    fake.error, fake.fail_dry_runs = ConversionError("layer 'conv' looks ahead"), True
    module = Spotter()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(ConversionError, match="layer 'conv' looks ahead"):
        fit(tmp_path, EspStreamingExport(), module=module)
    assert same(before, module.state_dict())


@pytest.mark.filterwarnings("default::UserWarning")
def test_a_failed_dry_run_may_only_warn(tmp_path: Path, fake: FakeExport) -> None:
    fake.error, fake.fail_dry_runs = ConversionError("layer 'conv' looks ahead"), True
    with pytest.warns(UserWarning, match=r"as its dry run says.*layer 'conv' looks ahead"):
        fit(tmp_path, EspStreamingExport(on_error="warn"))


def test_after_an_interruption_export_says_and_does_it(
    tmp_path: Path, fake: FakeExport, caplog: pytest.LogCaptureFixture
) -> None:
    class Interrupted(Spotter):
        def on_train_epoch_start(self) -> None:
            if self.current_epoch == 1:
                raise KeyboardInterrupt

    callback, module = EspStreamingExport(dry_run=False), Interrupted()
    checkpoints = ModelCheckpoint(tmp_path / "checkpoints", monitor="val_loss")
    trainer = pl.Trainer(
        callbacks=[callback, checkpoints],
        max_epochs=3,
        default_root_dir=tmp_path,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with caplog.at_level(logging.INFO), pytest.raises(SystemExit):
        trainer.fit(module, datamodule=SpotterData())
    assert fake.calls == []
    assert "training stopped before its end" in caplog.text
    bundle = callback.export(trainer, module)
    assert bundle is not None
    assert bundle.path == tmp_path / "esp_bundle"
    best = torch.load(checkpoints.best_model_path, weights_only=False)["state_dict"]
    assert torch.equal(fake.calls[0].state["conv.weight"], best["net.conv.weight"])


@pytest.mark.parametrize("mode", ["raise", "warn"])
def test_a_failed_export_never_loses_the_run(tmp_path: Path, fake: FakeExport, mode: Any) -> None:
    directory = tmp_path / "bundle"
    fit(tmp_path, EspStreamingExport(output_dir=directory, dry_run=False))
    before = (directory / "manifest.json").read_text()
    fake.error, fake.calls = LightningEspError("no luck"), []
    logger = CSVLogger(tmp_path, version=0)
    checkpoints = ModelCheckpoint(tmp_path / "checkpoints", monitor="val_loss")
    callback = EspStreamingExport(output_dir=directory, on_error=mode)
    if mode == "raise":
        with pytest.raises(LightningEspError, match="no luck"):
            fit(tmp_path, callback, checkpoints, logger=logger)
    else:
        with pytest.warns(UserWarning, match="no luck"):
            fit(tmp_path, callback, checkpoints, logger=logger)
    assert (directory / "manifest.json").read_text() == before
    note = (tmp_path / "FAILED.txt").read_text()
    assert "LightningEspError: no luck" in note
    assert Path(checkpoints.best_model_path).is_file()
    assert f"Spotter.load_from_checkpoint({checkpoints.best_model_path!r}" in note
    if mode == "warn":
        assert "export/failed" in (Path(logger.log_dir) / "metrics.csv").read_text()


def test_ctrl_c_in_the_export_leaves_note_and_weights_and_goes_on_up(tmp_path: Path, fake: FakeExport) -> None:
    fake.error = KeyboardInterrupt()
    with pytest.raises((KeyboardInterrupt, SystemExit)):  # Lightning ends the process, or passes it on
        fit(tmp_path, EspStreamingExport(output_dir=tmp_path / "bundle", on_error="warn"))
    assert f"the weights are in {tmp_path / 'bundle.failed.ckpt'}" in (tmp_path / "FAILED.txt").read_text()
    assert (tmp_path / "bundle.failed.ckpt").is_file()


@pytest.mark.filterwarnings("default::UserWarning")
def test_where_nothing_can_be_written_the_run_is_kept_elsewhere(
    tmp_path: Path, fake: FakeExport, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.error, save = LightningEspError("no luck"), torch.save

    def fail(content: Any, path: Path) -> None:
        if path.parent.name == "locked":
            raise RuntimeError("open file failed")
        save(content, path)

    monkeypatch.setattr(torch, "save", fail)
    with pytest.warns(UserWarning, match=r"/root/bundle\.failed\.ckpt(.|\n)*/root/FAILED\.txt"):
        fit(
            tmp_path / "root",
            EspStreamingExport(output_dir=tmp_path / "locked/bundle", on_error="warn", dry_run=False),
        )
    assert sorted(path.name for path in (tmp_path / "root").iterdir() if "bundle" in path.name) == [
        "bundle.failed.ckpt",
        "bundle.failed.pt",
    ]


class NeedsNet(Spotter):
    """A LightningModule that cannot be built from its checkpoint."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net  # type: ignore[assignment]


@pytest.mark.parametrize("kind", ["datamodule", "loaders", "no hyperparameters"])
def test_the_snippet_of_a_failed_export_exports(
    tmp_path: Path, fake: FakeExport, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    fake.error = LightningEspError("no luck")
    module: Any = NeedsNet(Net()) if kind == "no hyperparameters" else Spotter(rate=0.05)
    data: dict[str, Any] = {"datamodule": SpotterData(32)}
    if kind != "datamodule":
        data = {"train_dataloaders": DataLoader(Clips(20), 8), "val_dataloaders": DataLoader(Clips(12, 1), 8)}
    callback = EspStreamingExport(["esp32p4"], tmp_path / "bundle", streaming=Streaming(window=3))
    with pytest.raises(LightningEspError, match="no luck"):
        fit(tmp_path, callback, module=module, **data)
    assert "To export again:" in caplog.text
    failed = fake.calls[-1]
    fake.error = None
    monkeypatch.setattr("lightning_esp.export", fake)
    monkeypatch.setattr("lightning_esp.EspStreamingExport", EspStreamingExport, raising=False)
    snippet = caplog.text.split("To export again:")[1]
    names: dict[str, Any] = {}
    if "EspStreamingExport(" not in snippet:
        # Plain `export` is called without evaluation.
        monkeypatch.setattr("lightning_esp.export", lambda *a, **k: failed_again(fake, *a, **k))
    exec(snippet, names)
    again = fake.calls[-1]
    assert again is not failed
    assert same(again.state, failed.state)
    assert same(again.state, module.net.state_dict())
    assert torch.equal(torch.stack(list(again.recordings)), torch.stack(list(failed.recordings)))
    assert names["bundle"].path == tmp_path / "bundle"


def failed_again(fake: FakeExport, module: nn.Module, recordings: Any, **options: Any) -> Any:
    assert options.pop("streaming") == Streaming(window=3)
    assert options["target"] == ["esp32p4"]
    from lightning_esp.verification import TaskResult

    return fake(
        module,
        recordings,
        Path(options["output_dir"]),
        ("esp32p4",),
        evaluate=lambda stream: TaskResult({}, {}),
        progress=lambda *a: None,
        streams=None,
    )
