"""A recording through front end, integer network and detector, as the firmware hears it, in the memory of one piece."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_esp.bundle import read_both
from lightning_esp.bundle.audio import read_detector
from lightning_esp.bundle.model import Bundle
from lightning_esp.config import Detector
from lightning_esp.errors import ConfigurationError, DataError
from lightning_esp.evaluation import ContinuousDetector, DetectorSettings, Event, compute_scores, resolve_settings
from lightning_esp.frontend import FixedPointFrontEnd, FrontEnd, as_on_chip, restore_front_end
from lightning_esp.integers import ContinuousRun
from lightning_esp.integers.agreement import check_files

Samples = NDArray[np.int16]
Scores = NDArray[np.float32]


@dataclass(frozen=True)
class Heard:
    """A piece of a recording.

    Args:
        samples: int16, `[samples]`.
        scores: of the output frames that became ready, `[frames, classes]`, after the activation of the detector.
        events: those of the detector in these frames.
    """

    samples: Samples
    scores: Scores
    events: tuple[Event, ...]


class Audition:
    """A bundle that hears a recording.

    Args:
        path: directory of the bundle.
        target: which chip; None: the only one, or the first.
        changes: options of a `Detector` that take the place of the bundle's.

    Raises:
        BundleError: there is no bundle, or it was changed.
        DataError: the model does not listen.
        ConfigurationError: a change is out of range, or the bundle has no thresholds to go with it.
    """

    def __init__(
        self, path: str | PathLike[str], target: str | None = None, changes: Mapping[str, Any] | None = None
    ) -> None:
        bundle, quantized = read_both(path, target)
        self._front_end = _front_end(bundle, quantized.target)
        self._run = ContinuousRun(quantized)
        check_files(quantized)
        self.labels = bundle.labels
        self.classes = self._run.output_values
        settings = _settings(bundle, changes or {}, self.classes)
        self._detector = None if settings is None else ContinuousDetector(settings)
        self._activation = "softmax" if settings is None else settings.activation
        port = self._run.output
        stride = quantized.spec.stride if port.stride is None else port.stride
        self.target = quantized.target
        self.sample_rate = self._front_end.config.sample_rate
        self.frame_period = self._front_end.frame_period * stride
        self.delay = quantized.spec.output_delay(port)
        self.thresholds = () if settings is None else settings.thresholds
        self._samples = self._frames = self._events = 0

    @property
    def has_detector(self) -> bool:
        """Whether there is one."""
        return self._detector is not None

    def hear(self, blocks: Iterable[Samples]) -> Iterator[Heard]:
        """Yield what is heard, piece by piece.

        Args:
            blocks: int16 samples `[samples]` of one recording.

        Raises:
            DataError: the recording is shorter than a frame.
        """
        stream, frames = self._front_end.stream(), 0
        for samples in blocks:
            features = stream.push(torch.from_numpy(samples)[None])
            frames += features.shape[-1]
            yield self._judge(samples, self._run.push(features))
        if not frames:
            raise DataError(
                f"the recording has {self._samples} samples, fewer than one frame of "
                f"{self._front_end.config.frame_samples}; give a longer one."
            )
        yield self._judge(np.zeros(0, np.int16), self._run.finish())

    def name(self, label: int) -> str:
        """Name of a class."""
        return self.labels[label] if label < len(self.labels) else "class"

    def time(self, event: Event) -> float:
        """Seconds from the start of the recording, as the firmware prints them."""
        return (event.frame + 1 + self.delay) * self.frame_period

    def tell(self, event: Event) -> str:
        """An event as a line."""
        return f"event {self.name(event.label)} ({event.label}) at {self.time(event):.3f} s, score {event.score:.3f}"

    def summary(self) -> str:
        """What was heard, as a line."""
        seconds = self._samples / self.sample_rate
        return f"{self._events} events in {seconds:.3f} s, {self._frames} output frames, {self.target}"

    def _judge(self, samples: Samples, outputs: torch.Tensor) -> Heard:
        axis = self._run.output.time_axis
        assert axis is not None
        frames = outputs.movedim(axis, 1)[0]
        scores = compute_scores(frames.reshape(len(frames), self.classes).numpy(), self._activation)
        events = () if self._detector is None else tuple(self._detector.push(scores))
        self._samples += len(samples)
        self._frames += len(scores)
        self._events += len(events)
        return Heard(samples, scores, events)


def _front_end(bundle: Bundle, target: str) -> FrontEnd | FixedPointFrontEnd:
    description = bundle.manifest.get("frontend")
    if description is None:
        raise DataError(
            f"{bundle.path} has no front end, so it cannot hear samples. Export with a LogMel, Mfcc or Spectrogram in the "
            "LightningModule, or with export(front_end=...); `simulate` of the package takes features."
        )
    return as_on_chip(restore_front_end(description), target)


def _settings(bundle: Bundle, changes: Mapping[str, Any], classes: int) -> DetectorSettings | None:
    """The bundle's detector with what is given in place of its own values."""
    own = read_detector(bundle.manifest.get("detector"))
    if not changes:
        return own
    if own is None:
        if "threshold" not in changes:
            raise ConfigurationError(
                f"{', '.join(f'--{name}' for name in changes)}: the bundle has no detector; give --threshold as well."
            )
        return resolve_settings(Detector(**changes), bundle.labels, classes)
    checked = Detector(**{"activation": own.activation, **changes})
    kept = {name: value for name, value in changes.items() if name != "threshold"}
    if "threshold" in changes:
        # What never fires in the bundle does so because of its name.
        kept["thresholds"] = resolve_settings(checked, bundle.labels, classes).thresholds
    return replace(own, **kept)
