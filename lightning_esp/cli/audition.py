"""A recording through front end, integer network and detector, as the firmware hears it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_esp.bundle import read_bundle, read_model
from lightning_esp.bundle.audio import read_detector
from lightning_esp.bundle.model import Bundle
from lightning_esp.config import Detector
from lightning_esp.errors import ConfigurationError, DataError
from lightning_esp.evaluation import DetectorSettings, Event, compute_scores, detect, resolve_settings
from lightning_esp.frontend import FrontEnd, hear, restore_front_end
from lightning_esp.integers import QuantizedStreaming
from lightning_esp.quantization.model import QuantizedModel

Samples = NDArray[np.int16]


@dataclass(frozen=True)
class Audition:
    """What a bundle made of a recording.

    Args:
        samples: the recording, int16.
        sample_rate: samples per second.
        scores: `[frames, classes]`, after the activation of the detector.
        events: what the detector made of them.
        labels: names of the classes; empty where they are not known.
        frame_period: seconds from one output frame to the next.
        delay: output frames that an event comes later on the chip than the frame that it is about.
        target: which chip.
        has_detector: whether there was one.
    """

    samples: Samples = field(repr=False)
    sample_rate: int
    scores: NDArray[np.float32] = field(repr=False)
    events: tuple[Event, ...]
    labels: tuple[str, ...]
    frame_period: float
    delay: int
    target: str
    has_detector: bool

    def name(self, label: int) -> str:
        """Name of a class."""
        return self.labels[label] if label < len(self.labels) else "class"

    def time(self, event: Event) -> float:
        """Seconds from the start of the recording, as the firmware prints them."""
        return (event.frame + 1 + self.delay) * self.frame_period


def hear_waveform(
    path: str | PathLike[str],
    load: Callable[[int], Any],
    target: str | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Audition:
    """Run front end, simulator and detector of a bundle.

    Args:
        path: directory of the bundle.
        load: returns int16 samples, given the front end's sample rate.
        target: which chip; None: the only one, or the first.
        changes: options of a `Detector` that take the place of the bundle's.

    Raises:
        BundleError: there is no bundle, or it was changed.
        DataError: the model does not listen, or the recording is too short.
        ConfigurationError: a change is out of range, or the bundle has no thresholds to go with it.
    """
    bundle = read_bundle(path)
    quantized = read_model(bundle, target)
    front_end = _front_end(bundle)
    samples: Samples = load(front_end.config.sample_rate)
    (heard,) = hear(front_end, [torch.from_numpy(samples)])
    output = QuantizedStreaming(quantized)(heard.features[None])
    outputs = _frames(quantized, output if isinstance(output, Tensor) else output[0])
    settings = _settings(bundle, changes or {}, outputs.shape[1])
    scores = compute_scores(outputs, "softmax" if settings is None else settings.activation)
    port = quantized.spec.outputs[0]
    stride = port.stride if port.stride is not None else quantized.spec.stride
    return Audition(
        samples=samples,
        sample_rate=front_end.config.sample_rate,
        scores=scores,
        events=() if settings is None else tuple(detect(settings, scores)),
        labels=bundle.labels,
        frame_period=front_end.frame_period * stride,
        delay=quantized.spec.output_delay(port),
        target=quantized.target,
        has_detector=settings is not None,
    )


def _front_end(bundle: Bundle) -> FrontEnd:
    description = bundle.manifest.get("frontend")
    if description is None:
        raise DataError(
            f"{bundle.path} has no front end, so it cannot hear samples. Export with a LogMel, Mfcc or Spectrogram in the "
            "LightningModule, or with export(front_end=...); `simulate` of the package takes features."
        )
    return restore_front_end(description)


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


def _frames(quantized: QuantizedModel, output: Tensor) -> NDArray[np.float32]:
    axis = quantized.spec.outputs[0].time_axis
    assert axis is not None
    frames = output.movedim(axis, 1)[0]
    return np.asarray(frames.reshape(len(frames), -1).numpy(), np.float32)
