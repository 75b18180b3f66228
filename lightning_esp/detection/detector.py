"""The detector: scores per frame become events, exactly as `components/lesp_streaming/detector` does it on the chip.

All arithmetic is float32, and sums run from the oldest frame to the newest on both sides, so that both take the same
decisions on the same scores.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightning_esp.config import Detector
from lightning_esp.errors import ConfigurationError, DataError
from lightning_esp.options import check_arguments

Scores = NDArray[np.float32]

NEVER = math.inf
"""Threshold of a class that makes no events."""

# Seconds of a detector whose thresholds are chosen, where the user gave no frames: a short word, a click that is none,
# and the rest of a long word.
_AVERAGE, _MINIMUM, _REFRACTORY = 0.3, 0.05, 0.7


@dataclass(frozen=True)
class DetectorSettings:
    """A detector for a model of known classes.

    Args:
        thresholds: one per class; `NEVER` for classes that make no events.
        average: frames of the moving average.
        minimum: frames in a row over the threshold.
        refractory: frames after an event in which nothing counts.
        activation: how outputs become scores.
        retrigger: whether a class that has stayed over its threshold since its event fires again.
    """

    thresholds: tuple[float, ...]
    average: int = 1
    minimum: int = 1
    refractory: int = 0
    activation: Literal["softmax", "sigmoid", "none"] = "softmax"
    retrigger: bool = False


@dataclass(frozen=True)
class DetectorState:
    """State of the detector between frames.

    Args:
        recent: scores of the last frames, the oldest first, `[average, classes]`; zeros at the start.
        streaks: frames in a row that each class has been over its threshold, `[classes]`.
        spent: classes that have fired and not been below their threshold since, `[classes]`.
        resting: frames until anything counts again.
        frame: frames seen so far.
    """

    recent: Scores
    streaks: NDArray[np.int64]
    spent: NDArray[np.bool_]
    resting: int = 0
    frame: int = 0


@dataclass(frozen=True)
class Event:
    """A class that fired.

    Args:
        frame: output frame in which it did, from 0 at the start of the recording.
        label: index of the class.
        score: mean of its scores at that moment.
    """

    frame: int
    label: int
    score: float


def resolve_settings(detector: Detector, labels: Sequence[str], classes: int) -> DetectorSettings:
    """Give every class its threshold.

    Args:
        detector: the user's options.
        labels: names of the classes; may be empty where no threshold is given by label.
        classes: number of the model's outputs per frame.

    Raises:
        ConfigurationError: a label has a threshold and is not there, labels and classes differ in number, or the
            thresholds are still to be chosen.

    Example:
        >>> resolve_settings(Detector(threshold={"yes": 0.8}), ["yes", "no"], 2).thresholds
        (0.8, inf)
    """
    check_arguments(resolve_settings, detector=detector, labels=labels, classes=classes)
    if labels and len(labels) != classes:
        raise ConfigurationError(
            f"Deployment(labels=...) names {len(labels)} classes, but the model has {classes} outputs per frame."
        )
    given = detector.threshold
    if isinstance(given, str):
        raise ConfigurationError(
            f"Detector(threshold={given!r}) is still to be chosen; give export(streams=...), or a validation_streams() of "
            "the datamodule or the LightningModule."
        )
    if isinstance(given, dict):
        unknown = sorted(set(given) - set(labels))
        if unknown:
            raise ConfigurationError(
                f"Detector(threshold=...) names {', '.join(map(repr, unknown))}; the labels are "
                f"{', '.join(map(repr, labels)) or 'not known, give Deployment(labels=...)'}."
            )
        thresholds = tuple(float(given.get(label, NEVER)) for label in labels)
    else:
        names = labels or [""] * classes
        thresholds = tuple(NEVER if name.startswith("_") else float(given) for name in names)
    average, minimum, refractory = detector.average or 1, detector.minimum or 1, detector.refractory or 0
    return DetectorSettings(thresholds, average, minimum, refractory, detector.activation, detector.retrigger)


def plan_detector(detector: Detector, frame_period: float) -> Detector:
    """Return a detector whose thresholds are still to be chosen: every class at 0.5, and times that fit spoken words.

    Args:
        detector: the user's options.
        frame_period: seconds of an output frame.

    Example:
        >>> planned = plan_detector(Detector(threshold="auto"), 0.01)
        >>> planned.threshold, planned.average, planned.minimum, planned.refractory
        (0.5, 30, 5, 70)
    """

    def frames(given: int | None, seconds: float, least: int) -> int:
        return max(least, round(seconds / frame_period)) if given is None else given

    return replace(
        detector,
        threshold=0.5,
        average=frames(detector.average, _AVERAGE, 1),
        minimum=frames(detector.minimum, _MINIMUM, 1),
        refractory=frames(detector.refractory, _REFRACTORY, 0),
    )


def compute_scores(outputs: ArrayLike, activation: str) -> Scores:
    """Turn outputs into scores.

    Args:
        outputs: `[..., classes]`.
        activation: `"softmax"`, `"sigmoid"` or `"none"`.

    Example:
        >>> compute_scores([[0.0, 0.0]], "softmax").tolist()
        [[0.5, 0.5]]
    """
    values = _as_scores(outputs)
    if activation == "softmax":
        powers = np.exp(values - values.max(-1, keepdims=True))
        return np.asarray(powers / powers.sum(-1, keepdims=True), np.float32)
    if activation == "sigmoid":
        with np.errstate(over="ignore"):
            return np.asarray(np.float32(1) / (np.float32(1) + np.exp(-values)), np.float32)
    if activation != "none":
        raise ConfigurationError(f"compute_scores(activation={activation!r}) must be 'softmax', 'sigmoid' or 'none'.")
    return values


def initial_state(settings: DetectorSettings) -> DetectorState:
    """Return the state at the start of a recording."""
    classes = len(settings.thresholds)
    recent = np.zeros((settings.average, classes), np.float32)
    return DetectorState(recent, np.zeros(classes, np.int64), np.zeros(classes, np.bool_))


def step(settings: DetectorSettings, state: DetectorState, scores: ArrayLike) -> tuple[Event | None, DetectorState]:
    """Take one frame.

    Args:
        settings: the detector.
        state: from `initial_state` or the step before.
        scores: `[classes]`.

    Returns:
        The event, if a class fired in this frame, and the state for the next one.

    Raises:
        DataError: there is not one score per class.
    """
    fresh = np.asarray(scores, np.float32)
    thresholds = np.asarray(settings.thresholds, np.float32)
    if fresh.shape != thresholds.shape:
        raise DataError(f"the detector got scores of shape {list(fresh.shape)}; it has {len(thresholds)} classes.")
    recent = np.concatenate([state.recent[1:], fresh[None]])
    means = _add_up(recent) / np.float32(settings.average)
    over, none = means >= thresholds, np.zeros_like(state.streaks)
    spent = state.spent & over
    if state.resting > 0:
        return None, DetectorState(recent, none, spent, state.resting - 1, state.frame + 1)
    streaks = np.where(over & ~spent, state.streaks + 1, 0)
    firing = np.flatnonzero(streaks >= settings.minimum)
    if firing.size == 0:
        return None, DetectorState(recent, streaks, spent, 0, state.frame + 1)
    label = int(firing[np.argmax(means[firing])])
    spent[label] = not settings.retrigger
    event = Event(state.frame, label, float(means[label]))
    return event, DetectorState(recent, none, spent, settings.refractory, state.frame + 1)


def detect(settings: DetectorSettings, scores: ArrayLike) -> list[Event]:
    """Return the events of a whole recording.

    Args:
        settings: the detector.
        scores: `[frames, classes]`.

    Example:
        >>> settings = DetectorSettings(thresholds=(0.5,), average=2)
        >>> [event.frame for event in detect(settings, [[0.0], [0.9], [0.9], [0.0]])]
        [2]
    """
    state, events = initial_state(settings), []
    frames = _as_scores(scores)
    if np.isnan(frames).any():
        raise DataError("scores hold NaN, which reaches no threshold; look for what the model was given there.")
    for frame in frames:
        event, state = step(settings, state, frame)
        if event is not None:
            events.append(event)
    return events


def _as_scores(values: ArrayLike) -> Scores:
    try:
        scores = np.asarray(values, np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"scores are numbers, [frames, classes]; {type(values).__name__} holds others ({error})."
        ) from None
    if scores.ndim == 0:
        raise DataError(f"scores are numbers, [frames, classes]; got {values!r} alone.")
    return scores


def _add_up(recent: Scores) -> Scores:
    # numpy's own sum adds in another order.
    total = np.zeros(recent.shape[1], np.float32)
    for scores in recent:
        total = total + scores
    return total
