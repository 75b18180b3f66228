"""What loggers get: fakes with the methods, and the signatures, of the real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning.loggers import CSVLogger

from lightning_esp.training.loggers import collect_figures, hand_over, log_export

FOUND = {
    "false_accepts": {"count": 1, "hours": 2.0, "per_hour": 0.5, "bound": 2.4},
    "false_rejects": 0.1,
    "det_area": 0.2,
    "latency": {"mean": 0.2, "median": 0.15, "p95": 0.3},
}
MANIFEST = {
    "metrics": {"float": {"val_acc": 0.9}, "quantized": {"esp32s3": {"val_acc": 0.89, "output_snr_db": "inf"}}},
    "targets": {
        "esp32s3": {
            "stream_evaluation": {"networks": {"float_offline": {**FOUND, "false_rejects": 0.05}, "integer": FOUND}},
            "estimate": {"step_us": 420, "ram": 10_000, "psram": 0, "flash": 50_000},
        }
    },
}


class Writer:
    """torch.utils.tensorboard.SummaryWriter."""

    def __init__(self) -> None:
        self.texts: list[tuple[str, str, int | None]] = []

    def add_text(
        self, tag: str, text_string: str, global_step: int | None = None, walltime: float | None = None
    ) -> None:
        self.texts.append((tag, text_string, global_step))


class WandbRun:
    """wandb.sdk.wandb_run.Run."""

    def __init__(self) -> None:
        self.artifacts: list[tuple[str, str | None, str | None]] = []

    def log_artifact(
        self,
        artifact_or_path: Any,
        name: str | None = None,
        type: str | None = None,
        aliases: list[str] | None = None,
        tags: list[str] | None = None,
    ) -> None:
        self.artifacts.append((Path(artifact_or_path).read_text(), name, type))


class MlflowClient:
    """mlflow.tracking.MlflowClient."""

    def __init__(self) -> None:
        self.artifacts: list[tuple[str, str]] = []

    def log_artifact(self, run_id: str, local_path: str, artifact_path: str | None = None) -> None:
        self.artifacts.append((run_id, Path(local_path).read_text()))


class CometExperiment:
    """comet_ml.CometExperiment."""

    def __init__(self) -> None:
        self.assets: list[tuple[str, str | None]] = []

    def log_asset(
        self,
        file_data: Any,
        file_name: str | None = None,
        overwrite: bool = False,
        copy_to_tmp: bool = True,
        step: int | None = None,
        metadata: Any = None,
    ) -> None:
        self.assets.append((Path(file_data).read_text(), file_name))


class NeptuneRun(dict[str, Any]):
    """neptune.Run: fields that take files."""

    def __missing__(self, key: str) -> Any:
        run = self

        class Field:
            def upload(self, value: Any, wait: bool = False) -> None:
                run[key] = Path(value).read_text()

        return Field()


class FakeLogger:
    """What all loggers of Lightning have."""

    def __init__(self, experiment: Any, **attributes: Any) -> None:
        self.experiment = experiment
        self.metrics: dict[str, float] = {}
        self.saved = False
        vars(self).update(attributes)

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.metrics = metrics

    def log_hyperparams(self, params: Any) -> None:
        self.params = params

    def save(self) -> None:
        self.saved = True


class NeptuneLogger(FakeLogger):
    """Known by its name."""


class FakeTrainer:
    global_step = 7

    def __init__(self, *loggers: Any) -> None:
        self.loggers = loggers


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "bundle"
    path.mkdir()
    (path / "report.html").write_text("<p>page</p>")
    return path


def test_figures_are_metrics_rates_and_estimates() -> None:
    assert dict(collect_figures(MANIFEST)) == {
        "export/float/val_acc": 0.9,
        "export/esp32s3/val_acc": 0.89,
        "export/esp32s3/output_snr_db": "inf",
        "export/float/false_accepts_per_hour": 0.5,
        "export/float/false_accepts_bound": 2.4,
        "export/float/false_rejects": 0.05,
        "export/float/det_area": 0.2,
        "export/float/latency": 0.15,
        "export/esp32s3/false_accepts_per_hour": 0.5,
        "export/esp32s3/false_accepts_bound": 2.4,
        "export/esp32s3/false_rejects": 0.1,
        "export/esp32s3/det_area": 0.2,
        "export/esp32s3/latency": 0.15,
        "export/esp32s3/step_us": 420,
        "export/esp32s3/ram": 10_000,
        "export/esp32s3/psram": 0,
        "export/esp32s3/flash": 50_000,
    }


def test_every_logger_gets_figures_and_the_path(bundle: Path) -> None:
    logger = FakeLogger(object())
    log_export(FakeTrainer(logger), bundle, MANIFEST)
    assert logger.metrics["export/esp32s3/false_rejects"] == 0.1
    assert "export/esp32s3/output_snr_db" not in logger.metrics, "no logger takes text for a figure"
    assert logger.params == {"export_bundle": str(bundle)}
    assert logger.saved


def test_csv_keeps_the_report_beside_its_file(bundle: Path, tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path / "logs", "run")
    log_export(FakeTrainer(logger), bundle, MANIFEST)
    assert (Path(logger.log_dir) / "esp_report.html").read_text() == "<p>page</p>"
    assert "export/esp32s3/val_acc" in (Path(logger.log_dir) / "metrics.csv").read_text()


def test_tensorboard_gets_a_table_and_the_report(bundle: Path, tmp_path: Path) -> None:
    writer = Writer()
    log_export(FakeTrainer(FakeLogger(writer, log_dir=str(tmp_path / "tb"))), bundle, MANIFEST)
    ((name, text, step),) = writer.texts
    assert (name, step) == ("esp_report", 7)
    lines = text.splitlines()
    assert lines[0] == "| | float | esp32s3 |"
    assert "| val_acc | 0.9 | 0.89 |" in lines
    assert "| step_us |  | 420 |" in lines
    assert (tmp_path / "tb" / "esp_report.html").exists()


def test_services_get_the_report_as_an_artifact(bundle: Path) -> None:
    run, client, experiment, neptune = WandbRun(), MlflowClient(), CometExperiment(), NeptuneRun()
    loggers = [FakeLogger(run), FakeLogger(client, run_id="r1"), FakeLogger(experiment), NeptuneLogger(neptune)]
    log_export(FakeTrainer(*loggers), bundle, MANIFEST)
    assert run.artifacts == [("<p>page</p>", "esp_report", "report")]
    assert client.artifacts == [("r1", "<p>page</p>")]
    assert experiment.assets == [("<p>page</p>", "esp_report.html")]
    assert neptune == {"export/esp_report": "<p>page</p>"}


def test_a_logger_that_fails_is_warned_of(bundle: Path) -> None:
    class Away(WandbRun):
        def log_artifact(self, *args: Any, **options: Any) -> None:
            raise ConnectionError("no route")

    logger = FakeLogger(Away())
    with pytest.warns(UserWarning, match=r"FakeLogger did not take .*Error: no route\)"):
        log_export(FakeTrainer(logger), bundle, MANIFEST)
    assert logger.saved


def test_no_report_is_no_error(tmp_path: Path) -> None:
    run = WandbRun()
    hand_over(FakeLogger(run), tmp_path / "report.html", {}, 0)
    assert run.artifacts == []
