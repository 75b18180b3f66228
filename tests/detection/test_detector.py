from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from lightning_esp.config import Detector
from lightning_esp.detection import (
    DetectorSettings,
    compute_scores,
    detect,
    initial_state,
    plan_detector,
    resolve_settings,
    step,
)
from lightning_esp.detection.detector import NEVER
from lightning_esp.errors import ConfigurationError, DataError
from tests.detection.detector_table import read_cases

CASES = read_cases()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_table(case):
    found = detect(case.settings, case.scores)
    assert [(event.frame, event.label) for event in found] == case.events


def test_every_case_has_a_name_of_its_own():
    assert len({case.name for case in CASES}) == len(CASES) >= 15


def test_the_table_can_fail():
    """Each option matters to some case: with another value an event moves."""
    from dataclasses import replace

    for field, change in (("average", 1), ("minimum", 1), ("refractory", 1)):
        moved = 0
        for case in CASES:
            settings = replace(case.settings, **{field: getattr(case.settings, field) + change})
            moved += [(e.frame, e.label) for e in detect(settings, case.scores)] != case.events
        assert moved >= 3, field
    other = [replace(case.settings, retrigger=not case.settings.retrigger) for case in CASES]
    pairs = zip(other, CASES, strict=True)
    assert sum([(e.frame, e.label) for e in detect(s, case.scores)] != case.events for s, case in pairs) >= 3


@pytest.mark.parametrize("retrigger", [False, True])
def test_a_sound_of_two_seconds_is_one_event_unless_asked(retrigger):
    scores = np.zeros((600, 2), np.float32)
    scores[200:420, 1] = 0.95
    detector = Detector(0.5, average=20, minimum=5, refractory=70, activation="none", retrigger=retrigger)
    assert len(detect(resolve_settings(detector, ("_other_", "yes"), 2), scores)) == (3 if retrigger else 1)


def test_the_score_of_an_event_is_its_mean():
    (event,) = detect(DetectorSettings((0.6,), average=2), [[0.5], [0.75]])
    assert (event.frame, event.score) == (1, 0.625)


def test_steps_leave_their_state_as_it_is():
    settings = DetectorSettings((0.5,), average=2)
    start = initial_state(settings)
    event, after = step(settings, start, [1.0])
    assert event is not None
    assert start.recent.sum() == 0
    assert after.frame == 1
    assert step(settings, start, [1.0])[0] == event


def test_scores():
    outputs = np.array([[1.0, 2.0, -1.0], [1000.0, 0.0, -1000.0]])
    soft = compute_scores(outputs, "softmax")
    assert soft.dtype == np.float32
    assert soft[0] == pytest.approx(np.exp(outputs[0]) / np.exp(outputs[0]).sum(), rel=1e-6)
    assert soft[1].tolist() == [1, 0, 0]
    sigmoid = compute_scores(outputs, "sigmoid")
    assert sigmoid[0] == pytest.approx(1 / (1 + np.exp(-outputs[0])), rel=1e-6)
    assert sigmoid[1].tolist() == [1, 0.5, 0]
    assert compute_scores(outputs, "none").tolist() == outputs.tolist()


LABELS = ("_silence_", "_unknown_", "go", "stop")


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (0.7, (math.inf, math.inf, 0.7, 0.7)),
        ({"go": 0.8}, (math.inf, math.inf, 0.8, math.inf)),
        ({"_unknown_": 0.9, "stop": 0.4}, (math.inf, 0.9, math.inf, 0.4)),
    ],
)
def test_thresholds_of_labels(threshold, expected):
    assert resolve_settings(Detector(threshold=threshold), LABELS, 4).thresholds == expected


def test_a_model_without_labels_has_one_threshold_for_all():
    settings = resolve_settings(Detector(0.3, average=4, minimum=2, refractory=7, activation="sigmoid"), (), 2)
    assert settings == DetectorSettings((0.3, 0.3), 4, 2, 7, "sigmoid")


def test_what_does_not_fit_is_refused():
    with pytest.raises(ConfigurationError, match=r"names 'left'; the labels are '_silence_', .*'stop'"):
        resolve_settings(Detector(threshold={"left": 0.5}), LABELS, 4)
    with pytest.raises(ConfigurationError, match="not known, give Deployment"):
        resolve_settings(Detector(threshold={"left": 0.5}), (), 4)
    with pytest.raises(ConfigurationError, match="names 4 classes, but the model has 5 outputs"):
        resolve_settings(Detector(), LABELS, 5)
    with pytest.raises(DataError, match=r"shape \[3\]; it has 2 classes"):
        detect(DetectorSettings((0.5, 0.5)), [[0.0, 0.0, 0.0]])


@pytest.mark.parametrize(
    "options",
    [
        {"average": 0},
        {"minimum": 0},
        {"refractory": -1},
        {"threshold": math.nan},
        {"threshold": {}},
        {"activation": "relu"},
    ],
)
def test_options_out_of_range_are_named(options):
    with pytest.raises(ConfigurationError, match=rf"Detector\({next(iter(options))}="):
        Detector(**options)


def test_thresholds_to_be_chosen_come_with_times_that_fit_words() -> None:
    planned = plan_detector(Detector(threshold="auto", minimum=1), 0.02)
    assert (planned.threshold, planned.average, planned.minimum, planned.refractory) == (0.5, 15, 1, 35)
    slow = plan_detector(Detector(threshold="auto"), 1.0)
    assert (slow.average, slow.minimum, slow.refractory) == (1, 1, 1)
    with pytest.raises(ConfigurationError, match=r"still to be chosen; give export\(streams=...\)"):
        resolve_settings(Detector(threshold="auto"), LABELS, 4)


def test_an_infinite_threshold_never_fires() -> None:
    settings = resolve_settings(Detector(threshold={LABELS[1]: math.inf, LABELS[2]: 0.2}), LABELS, 4)
    assert settings.thresholds[1] == NEVER
    assert settings.thresholds[2] == 0.2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": float("nan")}, "must be a number"),
        ({"threshold": {}}, "at least one by label, or 'auto'"),
        ({"threshold": "often"}, "must be a number"),
        ({"threshold": {True: 0.4}}, "unless they stand in quotes"),
        ({"minimum": 0}, "at least 1 frame"),
        ({"refractory": -1}, "0 frames or more"),
        ({"max_false_accepts_per_hour": -0.5}, "must be 0 or more"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Detector(**options)
