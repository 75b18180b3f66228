"""The detector over scores that come in pieces: memory for one piece, and Python only where a threshold is reached."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightning_esp.detection.detector import DetectorSettings, Event, Scores
from lightning_esp.detection.whole_recordings import average_scores


class ContinuousDetector:
    """A detector over an endless stream; its events are those of `detect` for all scores in a row.

    Args:
        settings: the detector.

    Example:
        >>> import numpy as np
        >>> detector = ContinuousDetector(DetectorSettings(thresholds=(0.5,), average=2))
        >>> pieces = np.float32([[0.0], [0.9]]), np.float32([[0.9], [0.0]])
        >>> [[event.frame for event in detector.push(piece)] for piece in pieces]
        [[], [2]]
    """

    def __init__(self, settings: DetectorSettings) -> None:
        classes = len(settings.thresholds)
        self._settings = settings
        self._thresholds = np.asarray(settings.thresholds, np.float32)
        self._recent = np.zeros((settings.average - 1, classes), np.float32)
        self._streaks = np.zeros(classes, np.int64)
        self._spent = np.zeros(classes, np.bool_)
        self._frame = 0
        # The first frame that counts again, and the one behind the last in which a class was over its threshold.
        self._armed, self._quiet = 0, 0

    def push(self, scores: Scores) -> list[Event]:
        """Take the next frames, `[frames, classes]`, and return the events in them; frames count from the start."""
        joined = np.concatenate([self._recent, scores])
        means = average_scores(joined, self._settings.average)[len(self._recent) :]
        self._recent = joined[len(joined) - len(self._recent) :]
        over = means >= self._thresholds
        found = [
            self._take(self._frame + int(index), means[index], over[index]) for index in np.flatnonzero(over.any(1))
        ]
        self._frame += len(scores)
        return [event for event in found if event is not None]

    def _take(self, frame: int, means: Scores, over: NDArray[np.bool_]) -> Event | None:
        """Take a frame in which a class is over its threshold; all that were left out had none."""
        if frame > self._quiet:
            self._streaks[:], self._spent[:] = 0, False
        self._quiet = frame + 1
        self._spent &= over
        if frame < self._armed:
            self._streaks[:] = 0
            return None
        self._streaks = np.where(over & ~self._spent, self._streaks + 1, 0)
        firing = np.flatnonzero(self._streaks >= self._settings.minimum)
        if firing.size == 0:
            return None
        label = int(firing[np.argmax(means[firing])])
        self._spent[label] = not self._settings.retrigger
        self._streaks[:] = 0
        self._armed = frame + 1 + self._settings.refractory
        return Event(frame, label, float(means[label]))
