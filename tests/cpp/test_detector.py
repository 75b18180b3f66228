"""The detector in C++ takes the decisions of the one in Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lightning_esp.detection import DetectorSettings, detect
from tests.cpp.compile import compile_program, needs_compiler, run_program
from tests.detection.detector_table import TABLE, Case, read_cases, write_cases

pytestmark = needs_compiler


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("detector") / "detector_cases"
    return compile_program(output, ["detector_cases.cpp", "lesp_streaming/src/detector.cpp"], ["lesp_streaming"])


def test_the_shared_table(program):
    cases = read_cases()
    events = sum(len(case.events) for case in cases)
    assert run_program(program, TABLE) == f"PASS {len(cases)} cases, {events} events\n"


def test_random_scores_give_the_same_events(program, tmp_path):
    rng = np.random.default_rng(0)
    cases = [make_case(rng, number) for number in range(500)]
    assert sum(len(case.events) for case in cases) > 1000
    write_cases(tmp_path / "table.txt", cases)
    assert run_program(program, tmp_path / "table.txt").startswith("PASS 500 cases")


def test_a_wrong_table_is_noticed(program, tmp_path):
    (case,) = [case for case in read_cases() if case.name == "an_average_outlasts_the_sound"]
    case.events[0] = (case.events[0][0] + 1, case.events[0][1])
    write_cases(tmp_path / "table.txt", [case])
    with pytest.raises(AssertionError, match="1 events came, the table has 1"):
        run_program(program, tmp_path / "table.txt")


def make_case(rng: np.random.Generator, number: int) -> Case:
    """Smooth scores, rounded to float32, around thresholds that some of them equal."""
    frames, classes = int(rng.integers(1, 80)), int(rng.integers(1, 6))
    walk = np.cumsum(rng.normal(0, 0.25, (frames, classes)), axis=0)
    scores = (1 / (1 + np.exp(-walk))).astype(np.float32)
    thresholds = tuple(float(np.float32(value)) for value in rng.choice(scores.ravel(), classes))
    average, minimum, refractory = rng.integers([1, 1, 0], [9, 5, 12]).tolist()
    settings = DetectorSettings(thresholds, average, minimum, refractory, retrigger=bool(number % 2))
    events = [(event.frame, event.label) for event in detect(settings, scores)]
    return Case(f"random_{number}", settings, scores.tolist(), events)
