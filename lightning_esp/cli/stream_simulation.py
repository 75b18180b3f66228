"""A recording through front end, integer network and detector, as the firmware takes it, in the memory of one piece."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from os import PathLike
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_esp.bundle import Bundle, read_both, read_normalize
from lightning_esp.config import Detector
from lightning_esp.detection import ContinuousDetector, DetectorSettings, Event, compute_scores, resolve_settings
from lightning_esp.errors import ConfigurationError, DataError
from lightning_esp.frontend import FrontEnd, Normalize, as_on_chip, restore_front_end
from lightning_esp.quantization import QuantizedModel
from lightning_esp.simulation import ContinuousRun, check_files

Samples = NDArray[np.int16]
Piece = NDArray[Any]
Scores = NDArray[np.float32]


@dataclass(frozen=True)
class SimulatedPiece:
    """A piece of a recording.

    Args:
        count: samples, or frames of readings.
        trace: what is drawn of them, `[count, columns]`: the waveform in -1 to 1, or the readings, normalised where they are.
        scores: of the output frames that became ready, `[frames, classes]`, after the activation of the detector.
        events: those of the detector in these frames.
    """

    count: int
    trace: NDArray[np.float32]
    scores: Scores
    events: tuple[Event, ...]


class _Samples:
    """Frames made of samples by the front end."""

    def __init__(self, front_end: FrontEnd, target: str) -> None:
        chip_front_end: Any = as_on_chip(front_end, target)
        self._stream, self._least = chip_front_end.stream(), chip_front_end.config.frame_samples
        self.columns, self.rate, self.frame_period = (
            1,
            float(chip_front_end.config.sample_rate),
            float(chip_front_end.frame_period),
        )

    def push(self, piece: Piece) -> tuple[torch.Tensor, NDArray[np.float32]]:
        """Return the frames that `[samples]`, int16, complete, and what is drawn of them."""
        frames: torch.Tensor = self._stream.push(torch.from_numpy(piece)[None])
        return frames, (piece[:, None] / np.float32(2**15)).astype(np.float32)

    def explain(self, count: int) -> str:
        """Explain why there was no frame."""
        return f"the recording has {count} samples, fewer than one frame of {self._least}; give a longer one."


class _Readings:
    """Frames made of readings: normalised, or taken as they come."""

    def __init__(self, quantized: QuantizedModel, normalize: Normalize | None) -> None:
        port, period = quantized.spec.inputs[0], quantized.spec.frame_period
        assert port.time_axis is not None
        self._axis, self._normalize = port.time_axis, normalize
        self._rest = [size for axis, size in enumerate(port.shape) if axis not in (0, port.time_axis)]
        self.columns = prod(self._rest)
        # Without a period, time is told in frames.
        self.rate, self.frame_period = (1.0, 1.0) if period is None else (1 / period, period)

    def push(self, piece: Piece) -> tuple[torch.Tensor, NDArray[np.float32]]:
        """Return the frames of `[frames, channels]`, float32, and what is drawn of them."""
        frames = torch.from_numpy(np.ascontiguousarray(piece, np.float32)).reshape(1, len(piece), *self._rest)
        frames = frames.movedim(1, self._axis)
        frames = frames if self._normalize is None else self._normalize(frames)
        return frames, frames.movedim(self._axis, 1).reshape(len(piece), -1).numpy()

    def explain(self, count: int) -> str:
        """Explain why there was no frame."""
        return f"the recording has {count} frames of readings; give a longer one."


class StreamSimulation:
    """A bundle that runs on a recording, of samples or of a sensor's readings.

    Args:
        path: directory of the bundle.
        target: which chip; None: the only one, or the first.
        changes: options of a `Detector` that take the place of the bundle's.
        is_audio: whether it takes samples.

    Raises:
        BundleError: there is no bundle, or it was changed.
        DataError: the model does not listen to samples, and is to; or it takes several inputs.
        ConfigurationError: a change is out of range, or the bundle has no thresholds to go with it.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        target: str | None = None,
        changes: Mapping[str, Any] | None = None,
        is_audio: bool = False,
    ) -> None:
        bundle, quantized = read_both(path, target)
        self._front_end = _make_front_end(bundle, quantized)
        if is_audio and isinstance(self._front_end, _Readings):
            raise DataError(
                f"{bundle.path} has no front end for audio, so it takes no samples: it takes frames of {self._front_end.columns} "
                "values, give a .csv or .npy file of these. To listen, export with a LogMel, Mfcc or Spectrogram in the "
                "LightningModule, or with export(front_end=...)."
            )
        self._run = ContinuousRun(quantized)
        check_files(quantized)
        self.labels = bundle.labels
        self.classes = self._run.output_values
        settings = _settings(bundle, quantized.target, changes or {}, self.classes)
        self._detector = None if settings is None else ContinuousDetector(settings)
        self._activation = "softmax" if settings is None else settings.activation
        port = self._run.output
        stride = quantized.spec.stride if port.stride is None else port.stride
        self.target = quantized.target
        self.listens = isinstance(self._front_end, _Samples)
        self.unit = "s" if self.listens or quantized.spec.frame_period is not None else "frames"
        self.columns, self.sample_rate = self._front_end.columns, self._front_end.rate
        self.frame_period = self._front_end.frame_period * stride
        self.delay = quantized.spec.output_delay(port)
        self.thresholds = () if settings is None else settings.thresholds
        self._samples = self._frames = self._events = 0

    @property
    def has_detector(self) -> bool:
        """Tell whether there is a detector."""
        return self._detector is not None

    def run(self, blocks: Iterable[Piece]) -> Iterator[SimulatedPiece]:
        """Yield scores and events, piece by piece.

        Args:
            blocks: int16 samples `[samples]` of one recording, or float32 readings `[frames, channels]`.

        Raises:
            DataError: the recording is shorter than a frame.
        """
        values = 0
        for piece in blocks:
            frames, trace = self._front_end.push(piece)
            values += frames.numel()
            yield self._judge(trace, self._run.push(frames))
        if not values:
            raise DataError(self._front_end.explain(self._samples))
        yield self._judge(np.zeros((0, self.columns), np.float32), self._run.finish())

    def name(self, label: int) -> str:
        """Name of a class."""
        return self.labels[label] if label < len(self.labels) else "class"

    def time(self, event: Event) -> float:
        """Seconds from the start of the recording, as the firmware prints them."""
        return (event.frame + 1 + self.delay) * self.frame_period

    def tell(self, event: Event) -> str:
        """An event as a line."""
        at = f"{self.time(event):.3f} s" if self.unit == "s" else f"frame {self.time(event):.0f}"
        return f"event {self.name(event.label)} ({event.label}) at {at}, score {event.score:.3f}"

    def summary(self) -> str:
        """Summarise the simulation in a line."""
        lasted = f"{self._samples / self.sample_rate:.3f} s" if self.unit == "s" else f"{self._samples} frames"
        return f"{self._events} events in {lasted}, {self._frames} output frames, {self.target}"

    def _judge(self, trace: NDArray[np.float32], outputs: torch.Tensor) -> SimulatedPiece:
        axis = self._run.output.time_axis
        assert axis is not None
        frames = outputs.movedim(axis, 1)[0]
        scores = compute_scores(frames.reshape(len(frames), self.classes).numpy(), self._activation)
        events = () if self._detector is None else tuple(self._detector.push(scores))
        self._samples += len(trace)
        self._frames += len(scores)
        self._events += len(events)
        return SimulatedPiece(len(trace), trace, scores, events)


def _make_front_end(bundle: Bundle, quantized: QuantizedModel) -> _Samples | _Readings:
    description = bundle.manifest.get("frontend")
    normalize = read_normalize(bundle.contents, quantized)
    if description is not None and normalize is None:
        front_end = restore_front_end(description)
        assert isinstance(front_end, FrontEnd)
        return _Samples(front_end, quantized.target)
    if len(quantized.spec.inputs) > 1:
        raise DataError(
            f"{bundle.path} takes {len(quantized.spec.inputs)} inputs, and a recording holds one; `simulate` of the package takes "
            "a mapping from name to tensor."
        )
    return _Readings(quantized, normalize)


def _settings(bundle: Bundle, target: str, changes: Mapping[str, Any], classes: int) -> DetectorSettings | None:
    """The chip's detector with what is given in place of its own values."""
    own = bundle.contents.targets[target].detector
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
