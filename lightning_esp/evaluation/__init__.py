"""From outputs per frame to decisions, and how good these are."""

from typing import TYPE_CHECKING

from lightning_esp.evaluation.accuracy import StreamingAccuracy, streaming_accuracy
from lightning_esp.evaluation.continuous import ContinuousDetector
from lightning_esp.evaluation.contract import ValidationStreams
from lightning_esp.evaluation.detector import (
    DetectorSettings,
    DetectorState,
    Event,
    compute_scores,
    detect,
    initial_state,
    plan_detector,
    resolve_settings,
    step,
)
from lightning_esp.evaluation.functional import (
    DetCurve,
    Rate,
    det_area,
    det_curve,
    detection_latency,
    false_accepts_per_hour,
    poisson_bound,
    recall_at,
)
from lightning_esp.evaluation.keywords import Keyword, Matching, match_events, read_keywords
from lightning_esp.evaluation.mlperf import (
    WakeWordResult,
    WakeWordStream,
    make_wake_word_stream,
    mlperf_tiny_streaming,
)
from lightning_esp.evaluation.scan import average_scores, scan
from lightning_esp.evaluation.streams import Stream, StreamDataset
from lightning_esp.evaluation.thresholds import Choice, choose_thresholds

if TYPE_CHECKING:
    from lightning_esp.evaluation.metrics import KeywordDetection, StreamingClipAccuracy

__all__ = [
    "Choice",
    "ContinuousDetector",
    "DetCurve",
    "DetectorSettings",
    "DetectorState",
    "Event",
    "Keyword",
    "KeywordDetection",
    "Matching",
    "Rate",
    "Stream",
    "StreamDataset",
    "StreamingAccuracy",
    "StreamingClipAccuracy",
    "ValidationStreams",
    "WakeWordResult",
    "WakeWordStream",
    "average_scores",
    "choose_thresholds",
    "compute_scores",
    "det_area",
    "det_curve",
    "detect",
    "detection_latency",
    "false_accepts_per_hour",
    "initial_state",
    "make_wake_word_stream",
    "match_events",
    "mlperf_tiny_streaming",
    "plan_detector",
    "poisson_bound",
    "read_keywords",
    "recall_at",
    "resolve_settings",
    "scan",
    "step",
    "streaming_accuracy",
]


def __getattr__(name: str) -> object:
    # torchmetrics takes a second to import, and bundles, the simulation and the command line do without it.
    if name in ("KeywordDetection", "StreamingClipAccuracy"):
        from lightning_esp.evaluation import metrics

        return getattr(metrics, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
