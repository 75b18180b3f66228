"""The detector over whole recordings at once: the same events as its steps, without one step per frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lightning_esp.detection.detector import DetectorSettings, Event, Scores, compute_scores


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


def detect_events(settings: DetectorSettings, means: Scores) -> list[Event]:
    """Find all events.

    Args:
        settings: the detector.
        means: what `average_scores` returns for it, `[frames, classes]`.

    Returns:
        What `detect` returns for the scores.

    Example:
        >>> settings = DetectorSettings(thresholds=(0.5,), average=2)
        >>> [event.frame for event in detect_events(settings, average_scores([[0.0], [0.9], [0.9], [0.0]], 2))]
        [2]
    """
    over = means >= np.asarray(settings.thresholds, np.float32)
    streaks = count_streaks(over)
    classes = [_Class(streaks[:, n], over[:, n], settings.minimum) for n in range(len(settings.thresholds))]
    events: list[Event] = []
    start = 0
    while (frame := min((found.next_fire(start) for found in classes), default=len(means))) < len(means):
        firing = [number for number, found in enumerate(classes) if found.next_fire(start) == frame]
        label = firing[int(np.argmax(means[frame, firing]))]
        events.append(Event(frame, label, float(means[frame, label])))
        start = frame + 1 + settings.refractory
        if not settings.retrigger:
            classes[label].spend(frame)
    return events


class _Class:
    """Frames in which one class can fire.

    Args:
        streaks: frames in a row over the threshold, `[frames]`.
        over: whether a frame is over it, `[frames]`.
        minimum: frames in a row that it takes.
    """

    def __init__(self, streaks: NDArray[np.int64], over: NDArray[np.bool_], minimum: int) -> None:
        self._fires, self._below = np.flatnonzero(streaks >= minimum), np.flatnonzero(~over)
        self._minimum, self._end = minimum, len(over)
        self._armed = 0

    def next_fire(self, start: int) -> int:
        """Return the first frame in which it fires if frames count from `start` on; behind the last frame: never."""
        # Counting starts anew there, so the earliest frame lies `minimum` frames further on.
        position = int(np.searchsorted(self._fires, max(start, self._armed) + self._minimum - 1))
        return int(self._fires[position]) if position < len(self._fires) else self._end

    def spend(self, frame: int) -> None:
        """Let it fire again only once it has been below its threshold behind `frame`."""
        position = int(np.searchsorted(self._below, frame))
        self._armed = int(self._below[position]) + 1 if position < len(self._below) else self._end


def count_streaks(over: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return how many frames in a row, this one included, each class has been true, `[frames, classes]`."""
    index = np.arange(1, len(over) + 1)[:, None]
    last_false = np.maximum.accumulate(np.where(over, 0, index), axis=0)
    return np.asarray(index - last_false, np.int64)


def detector_scores(output: Tensor, settings: DetectorSettings) -> Scores:
    """Return what a detector compares with its thresholds, `[frames, classes]`, of outputs `[classes, frames]`."""
    return average_scores(compute_scores(output.detach().cpu().T.numpy(), settings.activation), settings.average)
