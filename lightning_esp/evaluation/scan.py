"""The detector over whole recordings at once: the same events as its steps, without one step per frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lightning_esp.evaluation.detector import DetectorSettings, Event, Scores, compute_scores


def average_scores(scores: ArrayLike, frames: int) -> Scores:
    """Return the moving average that the detector compares with its thresholds.

    Args:
        scores: `[frames, classes]`.
        frames: length of the average; frames before the start count as 0.

    Returns:
        `[frames, classes]`, added up in the detector's order, so that every value is the same to the bit.
    """
    values = np.asarray(scores, np.float32)
    padded = np.concatenate([np.zeros((frames - 1, values.shape[1]), np.float32), values])
    total = np.zeros_like(values)
    for start in range(frames):
        total += padded[start : start + len(values)]
    return np.asarray(total / np.float32(frames), np.float32)


def scan(settings: DetectorSettings, means: Scores) -> list[Event]:
    """Find all events.

    Args:
        settings: the detector.
        means: what `average_scores` returns for it, `[frames, classes]`.

    Returns:
        What `detect` returns for the scores.

    Example:
        >>> settings = DetectorSettings(thresholds=(0.5,), average=2)
        >>> [event.frame for event in scan(settings, average_scores([[0.0], [0.9], [0.9], [0.0]], 2))]
        [2]
    """
    streaks = count_streaks(means >= np.asarray(settings.thresholds, np.float32))
    fires = np.flatnonzero((streaks >= settings.minimum).any(1))
    events: list[Event] = []
    start = 0
    # Counting starts anew behind an event and its rest, so the earliest next one lies `minimum` frames further on.
    while (position := int(np.searchsorted(fires, start + settings.minimum - 1))) < len(fires):
        frame = int(fires[position])
        firing = np.flatnonzero(streaks[frame] >= settings.minimum)
        label = int(firing[np.argmax(means[frame, firing])])
        events.append(Event(frame, label, float(means[frame, label])))
        start = frame + 1 + settings.refractory
    return events


def count_streaks(over: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return how many frames in a row, this one included, each class has been true, `[frames, classes]`."""
    index = np.arange(1, len(over) + 1)[:, None]
    last_false = np.maximum.accumulate(np.where(over, 0, index), axis=0)
    return np.asarray(index - last_false, np.int64)


def hear(output: Tensor, settings: DetectorSettings) -> Scores:
    """Return what a detector compares with its thresholds, `[frames, classes]`, of outputs `[classes, frames]`."""
    return average_scores(compute_scores(output.detach().cpu().T.numpy(), settings.activation), settings.average)
