"""Thresholds miss least at the rate that they were chosen for, and say where the streams cannot tell it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lightning_esp.detection.detector import NEVER, DetectorSettings
from lightning_esp.detection.keywords import Keyword
from lightning_esp.detection.thresholds import OperatingPoint, balance_thresholds, choose_thresholds, share_accepts
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


def peaks(wrong: float, right: float) -> tuple[Tensor, list[Keyword]]:
    """36 s in which "yes" is said once, and something else scores as "yes" once."""
    scores = torch.zeros(3, 3600)
    scores[1, 1040], scores[1, 2000] = right, wrong
    return scores, [Keyword(10.0, 10.5, "yes")]


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
    assert not strict.balanced
    assert not loose.balanced


def test_the_middle_between_both_errors_is_taken() -> None:
    found = choose_thresholds(lambda x: x, [peaks(0.3, 0.9)], SETTINGS, LABELS, 0.01, max_false_accepts_per_hour=0)
    assert found.settings.thresholds[1] == pytest.approx(0.6, abs=0.01)


def test_streams_too_short_for_the_rate_balance_misses_and_wrong_events() -> None:
    # Two keywords score lower than the one wrong sound. No false accept at any price would miss both.
    streams = [peaks(0.8, 0.5), peaks(0.0, 0.6)]
    short = choose_thresholds(lambda x: x, streams, SETTINGS, LABELS, 0.01, max_false_accepts_per_hour=1.0)
    none = choose_thresholds(lambda x: x, streams, SETTINGS, LABELS, 0.01, max_false_accepts_per_hour=0)
    assert short.balanced
    assert short.settings.thresholds[1] < 0.5
    assert (short.false_accepts.count, short.false_rejects) == (1, {"yes": 0.0})
    assert none.settings.thresholds[1] > 0.8
    assert balance_thresholds(lambda x: x, streams, SETTINGS, LABELS, 0.01) == short


def test_a_false_accept_is_worth_a_tenth_of_the_keywords_and_no_more() -> None:
    """However many keywords there are, that some are missed does not buy any number of false accepts."""
    scores, keywords = torch.zeros(3, 30_000), list[Keyword]()
    for number in range(200):
        scores[1, 150 * number + 40] = 0.9 if number >= 15 else 0.5  # 15 of 200 are faint
        keywords.append(Keyword(1.5 * number, 1.5 * number + 0.5, "yes"))
        scores[1, 150 * number + 120] = 0.6 if number < 3 else 0.0  # and three sounds are as loud as these
    found = choose_thresholds(lambda x: x, [(scores, keywords)], SETTINGS, LABELS, 0.01, max_false_accepts_per_hour=1.0)
    assert found.balanced
    assert (found.false_accepts.count, found.false_rejects) == (0, {"yes": 0.075})


def test_taking_one_keyword_for_another_is_an_error() -> None:
    scores = torch.zeros(3, 3600)
    scores[1, 1040], scores[1, 2040], scores[2, 2041] = 0.9, 0.6, 0.9
    said = [Keyword(10.0, 10.5, "yes"), Keyword(20.0, 20.5, "no")]
    found = choose_thresholds(lambda x: x, [(scores, said)], SETTINGS, LABELS, 0.01)
    assert 0.6 < found.settings.thresholds[1] <= 0.9
    assert found.false_rejects == {"no": 0.0, "yes": 0.0}


def test_false_accepts_go_where_they_save_most_misses() -> None:
    cheap = [OperatingPoint(0.2, 2, 0), OperatingPoint(0.6, 0, 1)]
    dear = [OperatingPoint(0.3, 2, 0), OperatingPoint(0.7, 0, 9)]
    assert share_accepts({1: cheap, 2: dear}, 3) == {1: 0.6, 2: 0.3}
    assert share_accepts({1: cheap, 2: dear}, 4) == {1: 0.2, 2: 0.3}
    assert share_accepts({1: [OperatingPoint(0.9, 2, 0)]}, 1) is None


def test_a_class_that_is_never_quiet_enough_is_refused_by_name() -> None:
    scores = torch.zeros(3, 36_000)
    scores[1, ::50] = 1.0
    with pytest.raises(DataError, match=r"there still are 'yes' 720.*max_false_accepts_per_hour"):
        choose_thresholds(lambda x: x, [(scores, [])] * 10, SETTINGS, LABELS, 0.01, max_false_accepts_per_hour=1)


def test_no_streams_and_negative_rates_are_refused() -> None:
    with pytest.raises(DataError, match="no streams; give recordings of the validation split"):
        choose_thresholds(lambda x: x, [], SETTINGS, LABELS, 0.01)
    with pytest.raises(ConfigurationError, match="must be 0 or more"):
        choose_thresholds(lambda x: x, [stream(0)], SETTINGS, LABELS, 0.01, max_false_accepts_per_hour=-1)
