"""A large keyword network teaches the small one of the recipe, by its command line alone."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipes" / "kws_tcn.py"


def save_teacher(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint of a network twice as wide, as a run of the recipe leaves it."""
    monkeypatch.syspath_prepend(str(RECIPE.parent))
    from kws_tcn import KeywordSpotter
    from speech_data import SpeechData

    torch.manual_seed(0)
    teacher = KeywordSpotter(SpeechData(root=ROOT / "datasets" / "tiny_kws").labels, channels=144)
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, default_root_dir=path.parent)
    trainer.strategy.connect(teacher)
    trainer.save_checkpoint(path)


def test_the_command_line_takes_a_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_teacher(tmp_path / "teacher.ckpt", monkeypatch)
    taught = ["--trainer.callbacks+=lightning_esp.training.Distill", "--trainer.callbacks.teacher=teacher.ckpt"]
    short = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--trainer.log_every_n_steps=1"]
    export = ["--export.dry_run=false", "--export.quantization.tolerance=0.3", "--export.output_dir=bundle"]
    quiet = ["--trainer.enable_progress_bar=false", "--trainer.callbacks.weight=0.7"]
    command = [sys.executable, str(RECIPE), "fit", *taught, *quiet, *short, *export]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    (log,) = tmp_path.glob("runs/kws_tcn/version_0/metrics.csv")
    rows = [row for row in csv.DictReader(log.read_text().splitlines()) if row.get("distillation")]
    assert len(rows) == 2
    assert all(float(row["distillation"]) > 0 for row in rows)
    assert (tmp_path / "bundle" / "manifest.json").exists()
