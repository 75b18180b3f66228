"""Decisions made of outputs per frame, and their quality."""

from typing import TYPE_CHECKING

from lightning_esp.detection.accuracy import StreamingAccuracy, streaming_accuracy
from lightning_esp.detection.continuous import ContinuousDetector
from lightning_esp.detection.detector import (
    NEVER,
    DetectorSettings,
    DetectorState,
    Event,
    Scores,
    compute_scores,
    detect,
    initial_state,
    plan_detector,
    resolve_settings,
    step,
)
from lightning_esp.detection.functional import (
    DetCurve,
    Rate,
    det_area,
    det_curve,
    detection_latency,
    false_accepts_per_hour,
    poisson_bound,
    recall_at,
)
from lightning_esp.detection.keywords import Keyword, Matching, match_events, read_keywords
from lightning_esp.detection.mlperf import (
    WakeWordResult,
    WakeWordStream,
    make_wake_word_stream,
    mlperf_tiny_streaming,
)
from lightning_esp.detection.stream_evaluation import Evaluated, StreamEvaluator, check_detector, make_stream_evaluator
from lightning_esp.detection.streams import Stream, StreamDataset
from lightning_esp.detection.thresholds import Choice, choose_thresholds
from lightning_esp.detection.validation_streams import Item, ValidationStreams, read_item
from lightning_esp.detection.whole_recordings import average_scores, detect_events

if TYPE_CHECKING:
    from lightning_esp.detection.metrics import KeywordDetection, StreamingClipAccuracy

__all__ = [
    "NEVER",
    "Choice",
    "ContinuousDetector",
    "DetCurve",
    "DetectorSettings",
    "DetectorState",
    "Evaluated",
    "Event",
    "Item",
    "Keyword",
    "KeywordDetection",
    "Matching",
    "Rate",
    "Scores",
    "Stream",
    "StreamDataset",
    "StreamEvaluator",
    "StreamingAccuracy",
    "StreamingClipAccuracy",
    "ValidationStreams",
    "WakeWordResult",
    "WakeWordStream",
    "average_scores",
    "check_detector",
    "choose_thresholds",
    "compute_scores",
    "det_area",
    "det_curve",
    "detect",
    "detect_events",
    "detection_latency",
    "false_accepts_per_hour",
    "initial_state",
    "make_stream_evaluator",
    "make_wake_word_stream",
    "match_events",
    "mlperf_tiny_streaming",
    "plan_detector",
    "poisson_bound",
    "read_item",
    "read_keywords",
    "recall_at",
    "resolve_settings",
    "step",
    "streaming_accuracy",
]


def __getattr__(name: str) -> object:
    # torchmetrics takes a second to import, and bundles, the simulation and the command line do without it.
    if name in ("KeywordDetection", "StreamingClipAccuracy"):
        from lightning_esp.detection import metrics

        return getattr(metrics, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
