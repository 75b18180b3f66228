"""What the callback decides: arguments, when to run, which weights, where things go."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.callbacks.weight_averaging import WeightAveraging
from pytorch_lightning.loggers import CSVLogger

from lightning_esp.callback import EspStreamingExport
from lightning_esp.config import Deployment, Streaming
from lightning_esp.errors import (
    ConfigurationError,
    OutputDirectoryError,
    UnknownTargetError,
)
from tests.models.fake_export import FakeExport
from tests.models.runs import fit, same
from tests.models.spotter import BANDS, FRAMES, Spotter, SpotterData

pytestmark = [pytest.mark.filterwarnings("ignore::UserWarning"), pytest.mark.filterwarnings("ignore::FutureWarning")]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeExport]:
    exporter = FakeExport()
    monkeypatch.setattr("lightning_esp.callback.export", exporter)
    return exporter


def test_it_works_without_arguments(tmp_path: Path, fake: FakeExport) -> None:
    callback = EspStreamingExport()
    _, module = fit(tmp_path, callback)
    dry, real = fake.calls
    assert real.output_dir == tmp_path / "esp_bundle"
    assert dry.output_dir != real.output_dir
    assert not dry.output_dir.exists()
    assert len(dry.recordings) == 8
    assert len(real.recordings) == 24
    assert real.recordings[0].shape == (BANDS, FRAMES)
    assert same(real.state, module.net.state_dict())
    assert real.target == ("esp32s3",)
    assert callback.bundle is not None
    assert callback.bundle.path == real.output_dir


def test_labels_come_from_the_datamodule_unless_they_are_given(tmp_path: Path, fake: FakeExport) -> None:
    fit(tmp_path, EspStreamingExport(dry_run=False))
    fit(tmp_path, EspStreamingExport(dry_run=False, deployment=Deployment(labels=("a", "b", "c"))))
    assert [call.options[-1].labels for call in fake.calls] == [("left", "right", "other"), ("a", "b", "c")]


def test_the_best_weights_are_exported(tmp_path: Path, fake: FakeExport, caplog: pytest.LogCaptureFixture) -> None:
    checkpoints = ModelCheckpoint(tmp_path / "checkpoints", monitor="val_loss", mode="max", save_top_k=1)
    with caplog.at_level(logging.INFO):
        _, module = fit(tmp_path, EspStreamingExport(dry_run=False), checkpoints, max_epochs=3)
    saved = torch.load(checkpoints.best_model_path, weights_only=False)["state_dict"]
    expected = {name.removeprefix("net."): value for name, value in saved.items() if name.startswith("net.")}
    assert same(fake.calls[0].state, expected)
    assert not same(fake.calls[0].state, module.net.state_dict()), "the loss fell, so the highest came first"
    assert (
        f"the best weights, val_loss = {checkpoints.best_model_score:.4g}, from {checkpoints.best_model_path}"
        in caplog.text
    )


def test_the_last_weights_are_exported_on_request(
    tmp_path: Path, fake: FakeExport, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = ModelCheckpoint(tmp_path / "checkpoints", monitor="val_loss", mode="max")
    with caplog.at_level(logging.INFO):
        _, module = fit(tmp_path, EspStreamingExport(dry_run=False, weights="last"), checkpoints, max_epochs=3)
    assert same(fake.calls[0].state, module.net.state_dict())
    assert (
        "exporting 'net' (Net) with the last weights, calibrated on 24 recordings of the validation data" in caplog.text
    )


@pytest.mark.parametrize("weights", ["best", "last"])
def test_averaged_weights_are_exported(
    tmp_path: Path, fake: FakeExport, weights: Any, caplog: pytest.LogCaptureFixture
) -> None:
    averaging = WeightAveraging()
    checkpoints = ModelCheckpoint(tmp_path / "checkpoints", monitor="val_loss", save_top_k=1)
    with caplog.at_level(logging.INFO):
        fit(tmp_path, EspStreamingExport(dry_run=False, weights=weights), averaging, checkpoints)
    assert averaging._average_model is not None
    content = torch.load(checkpoints.best_model_path, weights_only=False)
    averaged = {n.removeprefix("net."): v for n, v in content["state_dict"].items() if n.startswith("net.")}
    current = {n.removeprefix("net."): v for n, v in content["current_model_state"].items() if n.startswith("net.")}
    # The loss falls in both epochs, so the best checkpoint is the last one.
    assert same(fake.calls[0].state, averaged)
    assert not same(fake.calls[0].state, current)
    assert f"the {weights} weights, averaged" in caplog.text


def test_the_output_directory_is_checked_at_fit_start(tmp_path: Path, fake: FakeExport) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputDirectoryError, match="is a file"):
        fit(tmp_path, EspStreamingExport(output_dir=tmp_path / "file", dry_run=False))
    assert fake.calls == []


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"target": "esp8266"},
            UnknownTargetError,
            "target='esp8266' is not a chip",
        ),
        ({"target": ["esp32s3", "esp99"]}, UnknownTargetError, "target='esp99'"),
        ({"target": []}, ConfigurationError, "names no chip"),
        ({"weights": "first"}, ConfigurationError, "weights='first'.*'best'.*or 'last'"),
        ({"on_error": "ignore"}, ConfigurationError, "on_error='ignore'.*must be 'raise' or 'warn'"),
    ],
)
def test_arguments_are_checked_at_once(arguments: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        EspStreamingExport(**arguments)


def test_figures_and_path_go_to_the_logger(tmp_path: Path, fake: FakeExport) -> None:
    logger = CSVLogger(tmp_path, version=0)
    fit(tmp_path, EspStreamingExport(dry_run=False, target=["esp32s3", "esp32p4"]), logger=logger, log_every_n_steps=1)
    header = (Path(logger.log_dir) / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"export/float/val_acc", "export/esp32s3/val_acc", "export/esp32p4/val_loss"} <= set(header)
    bundle = Path(logger.log_dir).resolve() / "esp_bundle"
    assert str(bundle) in (Path(logger.log_dir) / "hparams.yaml").read_text()
    assert fake.calls[0].output_dir == bundle


def test_progress_is_shown_as_the_trainer_shows_its_own(
    tmp_path: Path, fake: FakeExport, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(tmp_path, EspStreamingExport(), enable_progress_bar=True)
    assert "Calibrating: 100%" in capsys.readouterr().out
    fit(tmp_path, EspStreamingExport(), enable_progress_bar=False)
    assert "Calibrating" not in capsys.readouterr().out


def test_fast_dev_run_exports_but_keeps_an_older_bundle(tmp_path: Path, fake: FakeExport) -> None:
    directory = tmp_path / "bundle"
    fit(tmp_path, EspStreamingExport(output_dir=directory), fast_dev_run=True)
    before = (directory / "manifest.json").read_text()
    fit(tmp_path, EspStreamingExport(output_dir=directory), fast_dev_run=True)
    assert len(fake.calls) == 4
    assert fake.calls[-1].output_dir != directory
    assert (directory / "manifest.json").read_text() == before


def test_a_resumed_run_exports(tmp_path: Path, fake: FakeExport) -> None:
    first = ModelCheckpoint(tmp_path / "checkpoints", monitor="val_loss", save_last=True)
    fit(tmp_path, EspStreamingExport(dry_run=False), first)
    second = ModelCheckpoint(tmp_path / "checkpoints", monitor="val_loss", save_last=True)
    trainer = pl.Trainer(
        callbacks=[EspStreamingExport(), second],
        max_epochs=4,
        default_root_dir=tmp_path,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    resumed = torch.load(first.last_model_path, weights_only=False)["state_dict"]["net.conv.weight"]
    trainer.fit(Spotter(), datamodule=SpotterData(), ckpt_path=first.last_model_path, weights_only=False)
    best = torch.load(second.best_model_path, weights_only=False)["state_dict"]
    dry, real = fake.calls[-2:]
    assert torch.equal(dry.state["conv.weight"], resumed)
    assert torch.equal(real.state["conv.weight"], best["net.conv.weight"])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_options_through_lightning_cli(
    tmp_path: Path, fake: FakeExport, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pytorch_lightning.cli import LightningArgumentParser, LightningCLI

    class Cli(LightningCLI):
        def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
            parser.add_lightning_class_args(EspStreamingExport, "export")

    monkeypatch.chdir(tmp_path)
    arguments = [
        *("--trainer.accelerator=cpu", "--trainer.max_epochs=1", "--trainer.logger=false"),
        *("--trainer.enable_progress_bar=false", "--export.streaming.window", "3"),
        *("--export.target", "[esp32s3,esp32p4]", "--export.streaming.stages", '["a","b"]'),
        *("--export.quantization.tolerance", "0.01", "--export.output_dir", str(tmp_path / "out")),
    ]
    Cli(Spotter, SpotterData, args=["fit", *arguments])
    call = fake.calls[-1]
    assert call.target == ("esp32s3", "esp32p4")
    assert call.output_dir == tmp_path / "out"
    assert call.options[0] == Streaming(window=3, stages=["a", "b"])
    assert call.options[2].tolerance == 0.01
    capsys.readouterr()
    with pytest.raises(SystemExit):
        Cli(Spotter, SpotterData, args=["fit", "--export.streaming.window=5", "--print_config"], run=True)
    printed = capsys.readouterr().out
    assert "window: 5" in printed
    assert "on_error: raise" in printed
    with pytest.raises(SystemExit):
        Cli(Spotter, SpotterData, args=["fit", "--help"])
    assert "how much a metric may fall" in capsys.readouterr().out.replace("\n", " ")
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["metrics"]["float"].keys() == {
        "val_acc",
        "val_loss",
    }
