"""torchmetrics classes over `functional`, for steps of any LightningModule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_esp.detection.accuracy import decide
from lightning_esp.detection.detector import NEVER, DetectorSettings, compute_scores
from lightning_esp.detection.functional import DetCurve, Rate, det_area, det_curve, false_accepts_per_hour, recall_at
from lightning_esp.detection.keywords import Keyword, match_events
from lightning_esp.detection.whole_recordings import average_scores, detect_events
from lightning_esp.errors import ConfigurationError, DataError


class KeywordDetection(Metric):
    """Quality of a detector on long recordings: false accepts per hour, false rejects, latency, and the DET curve.

    Every state is a sum over recordings, so processes that listened to different recordings add up to the same figures
    as one that saw them all.

    Args:
        settings: the detector. Its finite thresholds are used for the figures, and replaced one and all for the curve.
        labels: names of the classes.
        frame_period: seconds of an output frame.
        grace: seconds behind the end of a keyword in which an event still counts.
        points: thresholds of the curve, evenly spread between 0 and 1.
        rate: false accepts per hour at which `recall` is given, and up to which the area goes.

    Example:
        >>> metric = KeywordDetection(DetectorSettings((NEVER, 0.5), activation="none"), ["_other_", "yes"], 0.01)
        >>> outputs = torch.zeros(2, 200)
        >>> outputs[1, 110] = 0.9
        >>> metric.update(outputs, [Keyword(0.7, 1.0, "yes")])
        >>> figures = metric.compute()
        >>> [round(float(figures[name]), 2) for name in ("false_accepts_per_hour", "false_rejects", "latency")]
        [0.0, 0.0, 0.11]
    """

    full_state_update = False
    accepts: Tensor
    confused: Tensor
    hits: Tensor
    curve_accepts: Tensor
    curve_hits: Tensor
    keywords: Tensor
    frames: Tensor
    latency: Tensor

    def __init__(
        self,
        settings: DetectorSettings,
        labels: Sequence[str],
        frame_period: float,
        grace: float = 0.5,
        points: int = 99,
        rate: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if len(labels) != len(settings.thresholds) or not frame_period > 0 or points < 1:
            raise ConfigurationError(
                f"KeywordDetection got {len(settings.thresholds)} thresholds, {len(labels)} labels, "
                f"frame_period={frame_period} and points={points}: there is one label per threshold, the period is "
                "positive, and the curve has at least one point."
            )
        self.settings, self.labels, self.frame_period, self.grace = settings, list(labels), frame_period, grace
        self.rate = rate
        self.grid = [(number + 1) / (points + 1) for number in range(points)]
        for name in ("accepts", "confused", "hits", "keywords", "frames"):
            self.add_state(name, torch.tensor(0), dist_reduce_fx="sum")
        for name in ("curve_accepts", "curve_hits"):
            self.add_state(name, torch.zeros(points, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("latency", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, outputs: Tensor, keywords: Sequence[Keyword]) -> None:
        """Take one recording.

        Args:
            outputs: what the network gives, `[classes, frames]`.
            keywords: what is said in it; those whose class has no threshold are left out.

        Raises:
            DataError: the outputs have another number of classes.
        """
        if outputs.dim() != 2 or outputs.shape[0] != len(self.labels):
            raise DataError(
                f"KeywordDetection.update got outputs of shape {list(outputs.shape)}; give [{len(self.labels)} classes, "
                "frames], one recording at a time."
            )
        scores = compute_scores(outputs.detach().cpu().T.numpy(), self.settings.activation)
        means = average_scores(scores, self.settings.average)
        wanted = [keyword for keyword in keywords if keyword.label in self._active()]
        found = self._match(self.settings, means, wanted)
        self.frames += outputs.shape[1]
        self.keywords += len(wanted)
        self.hits += len(found.hits)
        self.accepts += len(found.false_accepts)
        self.confused += len(found.confusions)
        self.latency += sum(found.latencies)
        for point, threshold in enumerate(self.grid):
            thresholds = tuple(NEVER if given == NEVER else threshold for given in self.settings.thresholds)
            found = self._match(replace(self.settings, thresholds=thresholds), means, wanted)
            self.curve_accepts[point] += len(found.false_accepts)
            self.curve_hits[point] += len(found.hits)

    def compute(self) -> dict[str, Tensor]:
        """Return the figures of all recordings so far.

        Returns:
            `false_accepts_per_hour`, `false_accepts_bound` (its one-sided 95 % Poisson bound), `hours`, and, where
            there were keywords, `false_rejects` (a share), `confusions` (events that took one keyword for another, per
            keyword), `latency` (mean seconds), `det_area` and `recall` (the share found at `rate` false accepts per
            hour).
        """
        found = self.false_accepts()
        figures = {
            "false_accepts_per_hour": found.per_hour,
            "false_accepts_bound": found.bound,
            "hours": found.hours,
        }
        if int(self.keywords):
            curve = self.curve()
            figures |= {
                "false_rejects": 1 - int(self.hits) / int(self.keywords),
                "confusions": int(self.confused) / int(self.keywords),
                "det_area": det_area(curve, self.rate),
                "recall": recall_at(curve, self.rate),
            }
        if int(self.hits):
            figures["latency"] = float(self.latency) / int(self.hits)
        return {name: torch.tensor(value, device=self.device) for name, value in figures.items()}

    def false_accepts(self) -> Rate:
        """Return the rate of false accepts beside its hours and bound.

        Raises:
            ConfigurationError: nothing was listened to.
        """
        return false_accepts_per_hour(int(self.accepts), self._hours())

    def curve(self) -> DetCurve:
        """Return the detection error trade-off, all classes at one threshold.

        Raises:
            ConfigurationError: there were no keywords.
        """
        return det_curve(
            torch.tensor(self.grid), self.curve_accepts.cpu(), self.curve_hits.cpu(), int(self.keywords), self._hours()
        )

    def _hours(self) -> float:
        return int(self.frames) * self.frame_period / 3600

    def _active(self) -> set[str]:
        pairs = zip(self.labels, self.settings.thresholds, strict=True)
        return {label for label, threshold in pairs if threshold != NEVER}

    def _match(self, settings: DetectorSettings, means: Any, keywords: Sequence[Keyword]) -> Any:
        return match_events(detect_events(settings, means), keywords, self.labels, self.frame_period, self.grace)


class StreamingClipAccuracy(Metric):
    """`streaming_accuracy` as a metric: takes the clips of a recording in their order, and both kinds of outputs.

    Args:
        frames: output frames that decide a clip.

    Example:
        >>> metric = StreamingClipAccuracy(frames=1)
        >>> metric.update(torch.tensor([[0.0, 1.0], [0.5, 0.5]]), torch.tensor([[1.0, 0.0], [0.5, 0.5]]), 0)
        >>> {name: float(value) for name, value in metric.compute().items()}
        {'streaming_accuracy': 1.0, 'clip_accuracy': 0.0}
    """

    full_state_update = False
    carried: Tensor
    reset_hits: Tensor
    clips: Tensor

    def __init__(self, frames: int, **options: Any) -> None:
        super().__init__(**options)
        if frames < 1:
            raise ConfigurationError(f"StreamingClipAccuracy(frames={frames}) must be at least 1.")
        self.frames = frames
        for name in ("carried", "reset_hits", "clips"):
            self.add_state(name, torch.tensor(0), dist_reduce_fx="sum")

    def update(self, carried: Tensor, alone: Tensor, target: int) -> None:
        """Take one clip.

        Args:
            carried: outputs `[classes, frames]` of the clip, where the state came from the clip before.
            alone: outputs of the same clip from the initial state.
            target: index of the true class.

        Raises:
            DataError: the outputs hold fewer frames than decide.
        """
        self.carried += decide(carried, self.frames) == int(target)
        self.reset_hits += decide(alone, self.frames) == int(target)
        self.clips += 1

    def compute(self) -> dict[str, Tensor]:
        """Return `streaming_accuracy` (state carried over) and `clip_accuracy` (state reset)."""
        return {"streaming_accuracy": self.carried / self.clips, "clip_accuracy": self.reset_hits / self.clips}
