"""Thresholds hold the rate that they were chosen for, and are as low as they may be."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lightning_esp.detection.detector import NEVER, DetectorSettings
from lightning_esp.detection.keywords import Keyword
from lightning_esp.detection.thresholds import choose_thresholds
from lightning_esp.errors import ConfigurationError, DataError

LABELS = ["_other_", "yes", "no"]
SETTINGS = DetectorSettings((NEVER, 0.5, 0.5), activation="none", refractory=20)


def stream(seed: int, seconds: int = 360) -> tuple[Tensor, list[Keyword]]:
    """Scores as "recordings": keywords score up to 0.9, and now and then something else up to 0.7."""
    random = torch.Generator().manual_seed(seed)
    scores = torch.rand(3, seconds * 100, generator=random) * 0.2
    keywords = []
    for second in range(2, seconds - 2, 4):
        label = 1 + int(torch.randint(2, (), generator=random))
        keywords.append(Keyword(second, second + 0.5, LABELS[label]))
        scores[label, second * 100 + 40] = 0.3 + 0.6 * torch.rand((), generator=random)
        scores[3 - label, second * 100 + 200] = 0.7 * torch.rand((), generator=random)
    return scores, keywords


def test_the_rate_is_held_on_the_streams() -> None:
    streams = [stream(seed) for seed in range(3)]
    loose = choose_thresholds(lambda x: x, streams, SETTINGS, LABELS, 0.01, max_false_accepts_per_hour=200)
    strict = choose_thresholds(lambda x: x, streams, SETTINGS, LABELS, 0.01, max_false_accepts_per_hour=0)
    assert strict.false_accepts.count == 0
    assert 0 < loose.false_accepts.per_hour <= 200
    for number in (1, 2):
        assert loose.settings.thresholds[number] < strict.settings.thresholds[number] <= 0.71
    assert loose.false_rejects["yes"] < strict.false_rejects["yes"] < 0.75
    assert strict.settings.thresholds[0] == NEVER


def test_a_class_that_is_never_quiet_enough_stays_silent() -> None:
    scores = torch.zeros(3, 36_000)
    scores[1, ::50] = 1.0
    found = choose_thresholds(lambda x: x, [(scores, [])], SETTINGS, LABELS, 0.01, max_false_accepts_per_hour=1)
    assert found.settings.thresholds[1] == NEVER
    assert found.settings.thresholds[2] < 1


def test_no_streams_and_negative_rates_are_refused() -> None:
    with pytest.raises(DataError, match="no streams; give recordings of the validation split"):
        choose_thresholds(lambda x: x, [], SETTINGS, LABELS, 0.01)
    with pytest.raises(ConfigurationError, match="must be 0 or more"):
        choose_thresholds(lambda x: x, [stream(0)], SETTINGS, LABELS, 0.01, max_false_accepts_per_hour=-1)
