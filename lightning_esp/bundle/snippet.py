"""Events in the outputs that the report shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from lightning_esp.detection import DetectorSettings, compute_scores, detect


def mark_events(analysis: Mapping[str, Any], settings: DetectorSettings | None) -> dict[str, Any]:
    """Add to the excerpt of an analysis what the detector makes of it: frame and label, float and integers.

    Args:
        analysis: as `Analysis.to_report` returns it, or empty.
        settings: the detector; None: there is none.
    """
    excerpt = analysis.get("excerpt")
    if excerpt is None or settings is None or len(excerpt["float_values"]) != len(settings.thresholds):
        return dict(analysis)
    events = {kind: _find(excerpt[f"{kind}_values"], excerpt["starts"], settings) for kind in ("float", "integer")}
    return {**analysis, "excerpt": {**excerpt, "events": events}}


def _find(rows: Sequence[Sequence[float]], starts: Sequence[int], settings: DetectorSettings) -> list[list[int]]:
    scores = compute_scores(np.array(rows, dtype=np.float32).T, settings.activation)
    return [
        [start + event.frame, event.label]
        for start, end in pairwise([*starts, len(scores)])
        for event in detect(settings, scores[start:end])
    ]
