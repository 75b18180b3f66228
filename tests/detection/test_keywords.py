"""Which events find which keywords."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightning_esp.detection.detector import Event
from lightning_esp.detection.keywords import Keyword, match_events, read_keywords
from lightning_esp.errors import DataError

LABELS = ["_other_", "yes", "no"]


def at(time: float, label: str) -> Event:
    return Event(round(time * 100) - 1, LABELS.index(label), 0.9)


KEYWORDS = [Keyword(1.0, 1.5, "yes"), Keyword(3.0, 3.4, "no")]


def test_events_in_time_find_their_keyword() -> None:
    found = match_events([at(1.4, "yes"), at(3.8, "no")], KEYWORDS, LABELS, 0.01)
    assert sorted(found.hits) == [0, 1]
    assert found.false_accepts == ()
    assert found.latencies == pytest.approx((-0.1, 0.4))


@pytest.mark.parametrize("event", [at(0.9, "yes"), at(2.1, "yes"), at(2.5, "no")], ids=["early", "late", "between"])
def test_events_when_nothing_is_said_are_false_accepts(event: Event) -> None:
    found = match_events([event], KEYWORDS, LABELS, 0.01)
    assert (found.hits, found.false_accepts, found.confusions) == ({}, (event,), ())


@pytest.mark.parametrize("event", [at(1.4, "no"), at(3.2, "yes"), at(1.9, "no")])
def test_events_of_another_class_are_confusions(event: Event) -> None:
    found = match_events([event], KEYWORDS, LABELS, 0.01)
    assert (found.hits, found.false_accepts, found.confusions) == ({}, (), (event,))


def test_a_second_event_for_one_keyword_is_a_false_accept() -> None:
    events = [at(1.3, "yes"), at(1.6, "yes")]
    found = match_events(events, KEYWORDS, LABELS, 0.01)
    assert found.hits == {0: events[0]}
    assert found.false_accepts == (events[1],)


def test_two_keywords_in_a_row_take_an_event_each() -> None:
    twice = [Keyword(1.0, 1.3, "yes"), Keyword(1.4, 1.7, "yes")]
    found = match_events([at(1.45, "yes"), at(1.6, "yes")], twice, LABELS, 0.01)
    assert sorted(found.hits) == [0, 1]


def test_keywords_are_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "stream.csv"
    path.write_text("start,end,label\n3.0,3.4,no\n1.0,1.5,yes\n")
    assert read_keywords(path) == KEYWORDS


@pytest.mark.parametrize("row", ["x,1.0,yes", "2.0,1.0,yes", "-1,1.0,yes", "1.0"])
def test_rows_that_are_no_keywords_are_named(tmp_path: Path, row: str) -> None:
    path = tmp_path / "stream.csv"
    path.write_text(f"start,end,label\n{row}\n")
    with pytest.raises(DataError, match=r"stream\.csv, line 2"):
        read_keywords(path)


def test_further_columns_of_a_list_are_groups(tmp_path: Path) -> None:
    path = tmp_path / "keywords.csv"
    path.write_text("start,end,label,speaker,distance\n1,1.5,yes,anna,3 m\n3,3.4,no,,1 m\n")
    assert [keyword.groups for keyword in read_keywords(path)] == [
        {"speaker": "anna", "distance": "3 m"},
        {"distance": "1 m"},
    ]
