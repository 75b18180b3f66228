"""Scores with keywords in them, and a detector for them."""

from __future__ import annotations

import numpy as np
import torch

from lightning_esp.detection.detector import NEVER, DetectorSettings
from lightning_esp.detection.keywords import Keyword

LABELS = ["_other_", "yes", "no"]


SETTINGS = DetectorSettings((NEVER, 0.6, 0.7), average=3, minimum=2, refractory=20, activation="none")


def recording(seed: int, seconds: int = 20) -> tuple[torch.Tensor, list[Keyword]]:
    """Scores that rise at keywords, at most of them in time, and now and then elsewhere."""
    random = np.random.default_rng(seed)
    frames = seconds * 100
    scores = random.uniform(0, 0.4, (3, frames)).astype(np.float32)
    keywords = []
    for start in range(100, frames - 100, 200):
        label = int(random.integers(1, 3))
        keywords.append(Keyword(start / 100, start / 100 + 0.5, LABELS[label]))
        if random.random() < 0.7:
            scores[label, start + 40 : start + 60] += random.uniform(0.3, 0.6)
        if random.random() < 0.3:
            scores[3 - label, start + 110 : start + 120] += 0.5
        if random.random() < 0.2:
            scores[3 - label, start + 60 : start + 70] += 0.6
    return torch.from_numpy(scores), keywords
