"""Events in the outputs that the report shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from lightning_esp.detection import DetectorSettings, compute_scores, detect


def mark_events(analysis: Mapping[str, Any], settings: DetectorSettings | None) -> dict[str, Any]:
    """Add the events of the detector to the snippet of an analysis: frame and label, float and integers.

    Args:
        analysis: as `Analysis.to_report` returns it, or empty.
        settings: the detector; None: there is none.
    """
    snippet = analysis.get("snippet")
    if snippet is None or settings is None or len(snippet["float_values"]) != len(settings.thresholds):
        return dict(analysis)
    events = {kind: _find(snippet[f"{kind}_values"], snippet["starts"], settings) for kind in ("float", "integer")}
    return {**analysis, "snippet": {**snippet, "events": events}}


def _find(rows: Sequence[Sequence[float]], starts: Sequence[int], settings: DetectorSettings) -> list[list[int]]:
    scores = compute_scores(np.array(rows, dtype=np.float32).T, settings.activation)
    return [
        [start + event.frame, event.label]
        for start, end in pairwise([*starts, len(scores)])
        for event in detect(settings, scores[start:end])
    ]
