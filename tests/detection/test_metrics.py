"""The metric against its functions, in one process and in several."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_esp.detection.detector import detect
from lightning_esp.detection.keywords import Keyword, match_events
from lightning_esp.detection.metrics import KeywordDetection
from lightning_esp.errors import ConfigurationError, DataError
from tests.support.scores import LABELS, SETTINGS, recording


def test_the_figures_are_those_of_the_detector_step_by_step() -> None:
    metric = KeywordDetection(SETTINGS, LABELS, 0.01)
    hits = accepts = total = confused = 0
    latencies: list[float] = []
    for seed in range(4):
        scores, keywords = recording(seed)
        metric.update(scores, keywords)
        found = match_events(detect(SETTINGS, scores.T.numpy()), keywords, LABELS, 0.01)
        hits, accepts, total = hits + len(found.hits), accepts + len(found.false_accepts), total + len(keywords)
        latencies += found.latencies
        confused += len(found.confusions)
    figures = metric.compute()
    assert 0 < hits < total
    assert accepts > 0
    assert confused > 0
    assert float(figures["confusions"]) == pytest.approx(confused / total)
    assert float(figures["false_accepts_per_hour"]) == pytest.approx(accepts / (80 / 3600))
    assert float(figures["false_rejects"]) == pytest.approx(1 - hits / total)
    assert float(figures["latency"]) == pytest.approx(float(np.mean(latencies)))
    assert float(figures["false_accepts_bound"]) > float(figures["false_accepts_per_hour"])


def test_two_processes_give_the_figures_of_one(tmp_path: Path) -> None:
    from tests.detection.merging import figures

    command = [sys.executable, "-m", "tests.detection.merging"]
    root = Path(__file__).parents[2]
    running = [
        subprocess.Popen([*command, str(rank), str(tmp_path / "store")], cwd=root, stdout=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    found = [json.loads(process.communicate(timeout=300)[0].splitlines()[-1]) for process in running]
    alone = figures(range(5))
    assert alone["hours"] > 0
    assert 0 < alone["false_rejects"] < 1
    for each in found:
        assert each == pytest.approx(alone)


def test_the_curve_falls_and_rises() -> None:
    metric = KeywordDetection(SETTINGS, LABELS, 0.01, points=19)
    metric.update(*recording(1))
    curve = metric.curve()
    assert curve.false_rejects[-1] == 1
    assert curve.false_rejects.min() < 0.5
    assert curve.false_accepts[-1] == 0


def test_keywords_that_cannot_fire_are_not_missed() -> None:
    metric = KeywordDetection(SETTINGS, LABELS, 0.01)
    metric.update(torch.zeros(3, 500), [Keyword(1.0, 2.0, "_other_")])
    assert "false_rejects" not in metric.compute()


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ConfigurationError, match="3 thresholds, 2 labels"):
        KeywordDetection(SETTINGS, LABELS[:2], 0.01)
    with pytest.raises(DataError, match=r"shape \[2, 50\]; give \[3 classes, frames\]"):
        KeywordDetection(SETTINGS, LABELS, 0.01).update(torch.zeros(2, 50), [])
