"""What the page tells of validation streams, made of figures as an export has them."""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from typing import Any

import pytest

from lightning_esp import Bundle
from lightning_esp.bundle.report import render_report
from lightning_esp.bundle.report.curves import draw_det, draw_stretch
from lightning_esp.bundle.report.streams import list_tiles, render_listening
from lightning_esp.detection.stream_figures import evaluate_streams, snippet
from tests.bundle.report.stream_reports import LABELS, PERIOD, SETTINGS, make_listening, make_outputs


@pytest.fixture(scope="module")
def stream_evaluation() -> dict[str, Any]:
    return make_listening()


def test_the_page_tells_rates_with_hours_and_bounds(bundle: Bundle, stream_evaluation: dict[str, Any]) -> None:
    manifest, report = copy.deepcopy(bundle.manifest), copy.deepcopy(bundle.report)
    report["targets"]["esp32s3"]["stream_evaluation"] = stream_evaluation
    page = render_report(manifest, report).decode()
    found = stream_evaluation["networks"]["integer"]
    assert found["missed"] > 0
    assert found["false_accepts"]["count"] > 0
    verdict = page[: page.index("<h2>")]
    assert "false accepts per hour" in verdict
    assert f"{found['false_accepts']['count']} in 0.0167 h, 95 % bound" in verdict
    assert f"{100 * found['false_rejects']:.1f} %" in verdict
    for name in ("float, offline", "float, streamed", "integers"):
        assert f'<th scope="row"><span class="whole">{name}</span></th>' in page
    assert "these figures flatter them" in page
    assert "25 % of their speech repeats" in page
    assert "up to 20 ms after it" in page
    assert "&lt;yes&gt;" in page
    assert "<yes>" not in page
    pictures = re.findall(r'role="img" aria-label="([^"]*)"', page)
    assert "Detection error trade-off" in pictures
    assert "Scores over 20 s of a validation stream, float and integers" in pictures


def test_a_curve_has_a_line_for_each_network_and_a_place_for_none() -> None:
    curve = {"thresholds": [0.2, 0.5, 0.9], "false_accepts": [100.0, 10.0, 0.0], "false_rejects": [0.0, 0.25, 1.0]}
    drawn = draw_det({"float": curve, "integers": curve}, {"integers": (10.0, 0.25)})
    lines = re.findall(r'<polyline points="([^"]*)" class="det line(\d)"', drawn)
    assert [kind for _, kind in lines] == ["0", "1"]
    # From 60 (none) and 100 (10 per hour) to 610 (100 per hour); all found lies at the bottom.
    assert lines[0][0] == "610.0,250.0 100.0,190.0 60.0,10.0"
    assert "integers, threshold 0.50: 10 false accepts per hour, 25.0 % missed" in drawn
    assert 'cx="100.0" cy="190.0" r="5" class="chosen line1"' in drawn


def test_a_curve_without_a_false_accept_can_be_drawn() -> None:
    curve = {"thresholds": [0.2, 0.5], "false_accepts": [0.0, 0.0], "false_rejects": [0.0, 0.5]}
    assert "60.0,250.0 60.0,130.0" in draw_det({"float": curve}, {})


def test_a_stretch_shows_words_thresholds_and_events(stream_evaluation: dict[str, Any]) -> None:
    drawn = draw_stretch(stream_evaluation["snippet"], LABELS)
    assert "&lt;yes&gt; is said, 1.00 to 1.50 s" in drawn
    assert drawn.count('class="said"') == len(stream_evaluation["snippet"]["keywords"])
    assert drawn.count('class="threshold"') == 2, "a class that never fires has none"
    events = stream_evaluation["snippet"]["events"]
    assert drawn.count('class="event float"') == len(events["float_streamed"]) > 2
    assert drawn.count('class="event integer"') == len(events["integer"]) > 2
    assert "20 s</text>" in drawn


def test_streams_without_keywords_have_rates_only(stream_evaluation: dict[str, Any]) -> None:
    quiet = copy.deepcopy(stream_evaluation)
    outputs, _ = make_outputs(0.0)
    found = evaluate_streams(outputs, [[]], SETTINGS, LABELS, PERIOD)
    quiet["networks"] = dict.fromkeys(stream_evaluation["networks"], found)
    quiet["snippet"] = snippet({"float_streamed": outputs, "integer": outputs}, [[]], SETTINGS, LABELS, PERIOD)
    page = render_listening(quiet)
    assert "Detection error trade-off" not in page
    assert [name for name, _, _ in list_tiles(quiet)] == ["false accepts per hour"]
    assert found["false_accepts"]["count"] > 0


def test_nothing_is_told_where_nothing_was_heard() -> None:
    assert render_listening(None) == ""
    assert list_tiles({}) == []


def test_misses_are_told_by_group_and_the_worst_first() -> None:
    outputs, (keywords,) = make_outputs(0.0)
    told = [replace(keyword, groups={"speaker": f"s{number % 3}"}) for number, keyword in enumerate(keywords)]
    figures = evaluate_streams(outputs, [told], SETTINGS, LABELS, PERIOD)
    by_speaker = figures["missed_by_group"]["speaker"]
    assert list(by_speaker) == ["s0", "s1", "s2"]
    assert [sum(column) for column in zip(*by_speaker.values(), strict=True)] == [figures["missed"], len(keywords)]
    assert figures["missed"] > 0
    evaluation = make_listening()
    assert "Keywords missed by group" not in render_listening(evaluation)
    evaluation["networks"]["integer"]["missed_by_group"] = {"distance": {f"{n} m": [n, 40] for n in range(1, 31)}}
    page = render_listening(evaluation)
    assert "20 of 30, most missed first" in page
    assert page.index("30 of 40") < page.index("11 of 40")
    assert "10 of 40" not in page
