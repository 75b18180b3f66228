"""Events in the outputs that the report shows."""

from lightning_esp.bundle.audio import mark_events
from lightning_esp.detection.detector import DetectorSettings


def test_events_count_from_the_start_of_their_recording() -> None:
    settings = DetectorSettings((0.5, 0.5), average=1, minimum=2, refractory=9, activation="none")
    # A streak that a recording's end cuts makes no event, though the next recording begins as high.
    values = [[0, 1, 1, 0, 0, 1, 1, 1], [0] * 8]
    analysis = {"layers": (), "snippet": {"starts": (0, 6), "float_values": values, "integer_values": [[0] * 8] * 2}}
    found = mark_events(analysis, settings)
    assert found["snippet"]["events"] == {"float": [[2, 0], [7, 0]], "integer": []}
    assert "events" not in analysis["snippet"]


def test_without_a_detector_or_an_excerpt_nothing_changes() -> None:
    for analysis in ({}, {"snippet": None}, {"snippet": {"float_values": [[0]], "starts": [0]}}):
        assert mark_events(analysis, None) == analysis
