"""Figures and report of an export for the loggers of the run."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.utilities import rank_zero_warn

REPORT = "report.html"

# What the report is called where files of other things lie beside it.
NAME = "esp_report"


def log_export(trainer: Trainer, path: Path, manifest: Mapping[str, Any]) -> None:
    """Give the loggers of a run the figures of a bundle, its path, and its report in whatever way each of them takes files.

    The figures are `export/float/<metric>` and `export/<chip>/<metric>`. The report is copied into the directory of a
    logger that writes one (CSV, TensorBoard), and handed over as an artifact (W&B, MLflow, Comet, Neptune); a writer of
    TensorBoard gets a table as text. A logger that fails to take the report is warned of: the bundle is written by then.

    Args:
        trainer: the user's trainer.
        path: the bundle.
        manifest: of the bundle.
    """
    figures = {name: value for name, value in collect_figures(manifest) if not isinstance(value, str)}
    for logger in trainer.loggers:
        if figures:
            logger.log_metrics(figures, step=trainer.global_step)
        logger.log_hyperparams({"export_bundle": str(path)})
        try:
            hand_over(logger, path / REPORT, figures, trainer.global_step)
        except Exception as error:  # a service that is away, a file system that is full
            rank_zero_warn(
                f"EspStreamingExport: {type(logger).__name__} did not take the report ({type(error).__name__}: {error}); "
                f"it is {path / REPORT}."
            )
        logger.save()


def collect_figures(manifest: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield names and figures of a manifest: metrics, rates on the validation streams, estimates."""
    metrics = manifest.get("metrics", {})
    for name, value in metrics.get("float", {}).items():
        yield f"export/float/{name}", value
    for target, values in metrics.get("quantized", {}).items():
        for name, value in values.items():
            yield f"export/{target}/{name}", value
    for index, (target, entry) in enumerate(manifest.get("targets", {}).items()):
        networks = entry.get("stream_evaluation", {}).get("networks", {})
        shown = {"float": networks.get("float_offline")} if index == 0 else {}
        for owner, found in {**shown, target: networks.get("integer")}.items():
            if found:
                yield from _rates(f"export/{owner}", found)
        for name in ("step_us", "ram", "psram", "flash"):
            if (value := entry.get("estimate", {}).get(name)) is not None:
                yield f"export/{target}/{name}", value


def _rates(prefix: str, found: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    yield f"{prefix}/false_accepts_per_hour", found["false_accepts"]["per_hour"]
    yield f"{prefix}/false_accepts_bound", found["false_accepts"]["bound"]
    if found["false_rejects"] is not None:
        yield f"{prefix}/false_rejects", found["false_rejects"]
        yield f"{prefix}/det_area", found["det_area"]
    if found["latency"]:
        yield f"{prefix}/latency", found["latency"]["median"]


def hand_over(logger: Any, report: Path, figures: Mapping[str, float], step: int) -> None:
    """Give one logger the report, in every way that it offers.

    Args:
        logger: of Lightning.
        report: the page; nothing is handed over where it is not there.
        figures: by name, for those that take text.
        step: of the training.
    """
    if not report.exists():
        return
    directory = getattr(logger, "log_dir", None)
    if isinstance(directory, str):
        Path(directory).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(report, Path(directory) / f"{NAME}.html")
    experiment = logger.experiment
    if _offers(experiment, "add_text"):
        # TensorBoard draws tables of Markdown, and no HTML.
        experiment.add_text(NAME, _tabulate(figures), step)
    if (run := getattr(logger, "run_id", None)) is not None and _offers(experiment, "log_artifact"):
        experiment.log_artifact(run, str(report))  # MLflow's client serves many runs
    elif _offers(experiment, "log_artifact"):
        experiment.log_artifact(str(report), name=NAME, type="report")
    elif _offers(experiment, "log_asset"):
        experiment.log_asset(str(report), f"{NAME}.html")
    elif type(logger).__name__ == "NeptuneLogger":
        experiment[f"export/{NAME}"].upload(str(report))


def _offers(experiment: Any, name: str) -> bool:
    method: Callable[..., Any] | None = getattr(experiment, name, None)
    return callable(method)


def _tabulate(figures: Mapping[str, float]) -> str:
    """Markdown: one row for each metric, one column for float and for each chip."""
    cells = {tuple(name.removeprefix("export/").split("/", 1)): value for name, value in figures.items()}
    owners = list(dict.fromkeys(owner for owner, _ in cells))
    rows = [f"| | {' | '.join(owners)} |", "| --- |" + " --- |" * len(owners)]
    for metric in dict.fromkeys(metric for _, metric in cells):
        found = [cells.get((owner, metric)) for owner in owners]
        rows.append(f"| {metric} | {' | '.join('' if value is None else f'{value:.6g}' for value in found)} |")
    return "\n".join(rows)
