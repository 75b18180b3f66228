"""What `report.json` holds of validation streams, made of scores that rise at words."""

from __future__ import annotations

import json
from typing import Any

import torch

from lightning_esp.detection import DetectorSettings, Keyword
from lightning_esp.detection.stream_figures import evaluate_streams, snippet

LABELS = ["_other_", "<yes>", "no"]
SETTINGS = DetectorSettings((float("inf"), 0.5, 0.7), average=2, refractory=50, activation="none")
PERIOD = 0.01


def make_outputs(noise: float) -> tuple[list[torch.Tensor], list[list[Keyword]]]:
    random = torch.Generator().manual_seed(0)
    scores = 0.2 * torch.rand(3, 6000, generator=random)
    keywords = []
    for number, start in enumerate(range(500, 5500, 400)):
        label = 1 + number % 2
        keywords.append(Keyword(start * PERIOD, (start + 50) * PERIOD, LABELS[label]))
        scores[label, start + 30 : start + 60] = 0.55 + 0.4 * torch.rand((), generator=random)
        scores[3 - label, start + 200 : start + 220] = 0.3 + 0.3 * torch.rand((), generator=random)
    return [scores + noise * torch.rand(3, 6000, generator=random)], [keywords]


def make_listening() -> dict[str, Any]:
    """What `report.json` would hold."""
    names = {"float_offline": 0.0, "float_streamed": 0.0, "integer": 0.02}
    found = {name: make_outputs(noise) for name, noise in names.items()}
    keywords = found["integer"][1]
    outputs = {name: outputs for name, (outputs, _) in found.items()}
    report = {
        "networks": {name: evaluate_streams(o, keywords, SETTINGS, LABELS, PERIOD) for name, o in outputs.items()},
        "detector": {"average": 2, "minimum": 1, "refractory": 50, "thresholds": [None, 0.5, 0.7]},
        "labels": LABELS,
        "max_false_accepts_per_hour": 1.0,
        "chosen": True,
        "streams": 1,
        "repeated": 0.25,
        "frame_period": PERIOD,
        "stream_delay": 0.02,
        "snippet": snippet({n: outputs[n] for n in ("float_streamed", "integer")}, keywords, SETTINGS, LABELS, PERIOD),
    }
    return json.loads(json.dumps(report))
