"""The scan finds what the detector finds step by step."""

from __future__ import annotations

import numpy as np
import pytest

from lightning_esp.detection.continuous import ContinuousDetector
from lightning_esp.detection.detector import NEVER, DetectorSettings, detect
from lightning_esp.detection.whole_recordings import average_scores, detect_events


@pytest.mark.parametrize("seed", range(60))
def test_the_events_are_those_of_the_steps(seed: int) -> None:
    random = np.random.default_rng(seed)
    classes, frames = random.integers(1, 5), random.integers(1, 400)
    walk = np.cumsum(random.normal(0, 0.3, (frames, classes)), 0)
    scores = (1 / (1 + np.exp(-walk))).astype(np.float32)
    thresholds = [NEVER if random.random() < 0.2 else float(value) for value in random.uniform(0.2, 0.9, classes)]
    average, minimum, refractory = random.integers([1, 1, 0], [9, 7, 30])
    retrigger = bool(seed % 2)
    settings = DetectorSettings(tuple(thresholds), int(average), int(minimum), int(refractory), retrigger=retrigger)
    expected = detect(settings, scores)
    assert detect_events(settings, average_scores(scores, settings.average)) == expected
    detector, cuts = ContinuousDetector(settings), sorted(random.integers(0, frames + 1, 5))
    assert [event for piece in np.split(scores, cuts) for event in detector.push(piece)] == expected


def test_the_cases_are_not_empty() -> None:
    settings = DetectorSettings((0.5, 0.5), average=3, minimum=2, refractory=4)
    scores = np.random.default_rng(0).random((500, 2))
    events = detect_events(settings, average_scores(scores, 3))
    assert len(events) > 20
    assert {event.label for event in events} == {0, 1}


def test_a_recording_shorter_than_the_average() -> None:
    settings = DetectorSettings((0.1,), average=10)
    assert detect_events(settings, average_scores([[1.0]], 10)) == detect(settings, [[1.0]]) != []
