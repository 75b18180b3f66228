"""The table of a search, and what is said of calibration with and without states."""

from typing import Any

from lightning_esp.bundle.report.precision_search import render_precision_search
from lightning_esp.bundle.report.ranges import render_states, render_worst_ranges
from lightning_esp.precision import Candidate


def search_precision() -> dict[str, Any]:
    candidates = [
        Candidate(
            "int8", "kl", False, (), "rejected", "acc is 0.80", 0.05, {"acc": 0.8, "val_loss": 1.0}, 10000, 500, 60.0
        ),
        Candidate("int8", "kl", True, (), "rejected", "nothing to equalize"),
        Candidate("int8", "kl", False, ("a<b>",), "chosen", "", 0.005, {"acc": 0.9, "val_loss": 0.5}, 12500, 600, 75.0),
    ]
    return {"precision_search": {"tolerance": 0.01, "candidates": [candidate.to_report() for candidate in candidates]}}


def test_every_rung_stands_in_the_table_with_what_it_gained_and_cost() -> None:
    page = render_precision_search(search_precision())
    rows = page.split("<tr>")[2:]
    assert len(rows) == 3
    assert "int8, kl" in rows[0]
    assert ">13.0<" in rows[0]
    assert ">60<" in rows[0]
    assert 'class="bad">rejected' in rows[0]
    assert rows[1].count("–") == 5
    assert "&#x27;a&lt;b&gt;&#x27; in int16" in rows[2]
    assert ">23.0 (+10.0)<" in rows[2]
    assert ">12.2 KiB (+2.4 KiB)<" in rows[2]
    assert ">600 bytes (+100 bytes)<" in rows[2]
    assert ">75 (+15)<" in rows[2]
    assert 'class="good">chosen' in rows[2]
    assert ">acc<" in page
    assert "val_loss" not in page
    assert page.index("int8, kl</strong>: acc is 0.80") < page.index("equalized</strong>: nothing to equalize")


def test_the_seconds_stand_there_where_they_were_limited() -> None:
    figures = search_precision()
    assert ">seconds<" not in render_precision_search(figures)
    figures["precision_search"]["search_seconds"] = 30.0
    for candidate, seconds in zip(figures["precision_search"]["candidates"], (2.54, 0.0, 3.0), strict=True):
        candidate["seconds"] = seconds
    page = render_precision_search(figures)
    assert ">seconds<" in page
    assert [row.split("</td>")[-3].rpartition(">")[2] for row in page.split("<tr>")[2:]] == ["2.5", "0.0", "3.0"]


def test_a_given_precision_has_no_table() -> None:
    assert render_precision_search({"precision": "int8"}) == ""


def test_a_chip_without_figures_has_no_times() -> None:
    figures = search_precision()
    for candidate in figures["precision_search"]["candidates"]:
        candidate["step_us"] = None
    rows = render_precision_search(figures).split("<tr>")[2:]
    assert [row.count("–") for row in rows] == [1, 5, 1]


def test_the_worst_tensors_come_first() -> None:
    tensors = [
        {"name": name, "kind": kind, "clipped": clipped, "used": used}
        for name, kind, clipped, used in [
            ("x", "input", 0.0, 0.9),
            ("y", "cache", 0.125, 1.5),
            ("z", "activation", 0, 0.1),
        ]
    ]
    page = render_worst_ranges({"analysis": {"tensors": tensors, "worst_tensors": ["y", "z", "x"]}})
    assert page.index(">y<") < page.index(">z<") < page.index(">x<")
    assert "12.50 %" in page
    assert "150 %" in page
    assert render_worst_ranges({}) == ""


def test_both_calibrations_are_told() -> None:
    states = {"rolled_db": 38.94, "zero_db": 18.6, "caches": [{"name": "gru.state", "rolled": -7, "zero": -9}]}
    page = render_states({"analysis": {"states": states}})
    assert "38.9 dB" in page
    assert "18.6 dB" in page
    assert page.index(">-7<") < page.index(">-9<")
    assert "no noise" in render_states({"analysis": {"states": {**states, "zero_db": None}}})
    assert render_states({"analysis": {}}) == ""
