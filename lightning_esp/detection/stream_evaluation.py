"""Evaluation on validation streams: float offline, float streamed and integers, and thresholds chosen for them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lightning_esp.config import Deployment, Streaming
from lightning_esp.conversion import (
    Recording,
    StreamingModel,
    Values,
    as_tuple,
    check_recordings,
    convert,
)
from lightning_esp.detection.detector import NEVER, DetectorSettings, plan_detector, resolve_settings
from lightning_esp.detection.stream_figures import evaluate_streams, snippet
from lightning_esp.detection.streams import Stream
from lightning_esp.detection.thresholds import Choice, balance_thresholds, choose_thresholds
from lightning_esp.detection.validation_streams import Item, read_item
from lightning_esp.errors import ConfigurationError, DataError, LightningEspError
from lightning_esp.frontend import FrontEnd, Normalize, as_on_chip, compute_stream_features

Progress = Callable[[str, int, int], None]

# Windows of about so many frames make a float stream of hours fast; its figures are the same.
LONG_WINDOW = 512
_SAME = 1e-4


@dataclass(frozen=True)
class Evaluated:
    """Result of the validation streams for one chip.

    Args:
        settings: the detector of this chip, with the thresholds that were chosen on its own integer stream. None: nothing
            was judged.
        report: figures for `report.json`.
        notes: facts worth reading.
    """

    settings: DetectorSettings | None
    report: dict[str, Any]
    notes: tuple[str, ...] = ()


def check_detector(deployment: Deployment, has_streams: bool) -> None:
    """Check that there are streams, where thresholds are chosen or misses limited on them.

    Raises:
        ConfigurationError: there are none.
    """
    detector = deployment.detector
    if detector is None or has_streams:
        return
    how = (
        "give the datamodule or the LightningModule a validation_streams() (see lightning_esp.detection.ValidationStreams), "
        "or call export(streams=...)"
    )
    if detector.threshold == "auto":
        raise ConfigurationError(
            f"Detector(threshold='auto') chooses thresholds on validation streams, and there are none: {how}, or set "
            "thresholds by hand."
        )
    if detector.max_misses is not None:
        raise ConfigurationError(
            f"Detector(max_misses={detector.max_misses:g}) is a share of the keywords in validation streams, and there are none: "
            f"{how}, or leave it out."
        )


class StreamEvaluator:
    """Runs the networks of an export over the same validation streams.

    What the float networks make of them is computed once, for all targets.

    Args:
        module: the float module.
        model: its streaming form.
        streams: what `validation_streams()` returns.
        deployment: with detector and labels.
        front_end: makes features of waveforms or raw readings; None where streams hold what the module takes.
        streaming: the options that `model` was converted with.

    Raises:
        ConfigurationError: there is no period of frames, or there are no labels.
        DataError: there are no streams, or one does not fit the model.
    """

    def __init__(
        self,
        module: nn.Module,
        model: StreamingModel,
        streams: Iterable[Item],
        deployment: Deployment,
        *,
        front_end: FrontEnd | Normalize | None = None,
        streaming: Streaming | None = None,
    ) -> None:
        assert deployment.detector is not None
        self._model, self._planned = model, deployment.detector
        self._labels, self._period = _check(model, deployment)
        self._front_end = None if front_end is None else copy.deepcopy(front_end).float().cpu()
        self._samples: list[Tensor] = []
        self._values, self._keywords, self._repeated = self._read(streams)
        long = lengthen(module, model, streaming or Streaming(), self._values[0])
        networks: dict[str, Callable[..., Any]] = {
            "float_offline": module,
            "float_streamed": lambda **values: long.run(values),
        }
        self._outputs = {name: [self._run(each, values) for values in self._values] for name, each in networks.items()}

    def evaluate(
        self, stream: nn.Module, notify: Progress, target: str | None = None, rehearsal: bool = False
    ) -> Evaluated:
        """Run the integer stream of one target, and choose the thresholds of this target with it where none were given.

        Chips round differently, so what holds the rate on one may break it on another; and no target must depend on
        those before it.

        Args:
            stream: takes what the module takes, with a batch dimension, and returns its output.
            notify: called with `"listen"`, the recordings done and the recordings in all.
            target: the chip, whose front end makes the features; None: that of the float networks.
            rehearsal: the weights are not trained yet, so thresholds need not hold any rate.

        Raises:
            DataError: no thresholds hold the rate.
        """
        integer, recordings = [], self._features_on(target)
        for index, values in enumerate(recordings):
            notify("listen", index, len(recordings))
            integer.append(self._run(stream, values))
        notify("listen", len(recordings), len(recordings))
        outputs = {**self._outputs, "integer": integer}
        choice = self._choose(integer, rehearsal) if self._planned.threshold == "auto" else None
        settings = resolve_settings(self._planned, self._labels, len(integer[0])) if choice is None else choice.settings
        report = {**self._report(outputs, settings), "chosen": choice is not None}
        return Evaluated(settings, report, () if choice is None or rehearsal else self._notes(choice))

    def _features_on(self, target: str | None) -> list[Values]:
        """Return the streams' features on a chip; the float networks' where it computes them in float32, too."""
        front_end = None if target is None or self._front_end is None else as_on_chip(self._front_end, target)
        if front_end is None or front_end is self._front_end:
            return self._values
        features = [each.features for each in compute_stream_features(front_end, self._samples)]
        return [values for values, _ in check_recordings(self._model.spec, features)]

    def _choose(self, outputs: Sequence[Tensor], rehearsal: bool) -> Choice:
        planned = resolve_settings(plan_detector(self._planned, self._period), self._labels, len(outputs[0]))
        recordings = list(zip(outputs, self._keywords, strict=True))
        if rehearsal:
            return balance_thresholds(lambda output: output, recordings, planned, self._labels, self._period)
        rate = self._planned.max_false_accepts_per_hour
        return choose_thresholds(lambda output: output, recordings, planned, self._labels, self._period, rate)

    def _report(self, outputs: dict[str, list[Tensor]], settings: DetectorSettings) -> dict[str, Any]:
        rate, expected = self._planned.max_false_accepts_per_hour, self._expected(settings)
        shown = {name: outputs[name] for name in ("float_streamed", "integer")}
        spec = self._model.spec
        assert spec.frame_period is not None
        late = spec.window - spec.stride + len(spec.stages) - 1 + spec.delay * spec.stride
        return {
            "networks": {
                name: evaluate_streams(found, self._keywords, settings, self._labels, self._period, rate, expected)
                for name, found in outputs.items()
            },
            "detector": {**asdict(settings), "thresholds": [None if t == NEVER else t for t in settings.thresholds]},
            "labels": list(self._labels),
            "max_false_accepts_per_hour": rate,
            "max_misses": self._planned.max_misses,
            "streams": len(self._values),
            "repeated": self._repeated,
            "frame_period": self._period,
            "stream_delay": round(late * spec.frame_period, 6),
            "snippet": snippet(shown, self._keywords, settings, self._labels, self._period),
        }

    def _expected(self, settings: DetectorSettings) -> set[str]:
        """Labels to be found: also those that no threshold keeps quiet enough, whose keywords are all missed."""
        pairs = zip(self._labels, settings.thresholds, strict=True)
        return {label for label, threshold in pairs if threshold != NEVER or not label.startswith("_")}

    def _notes(self, choice: Choice) -> tuple[str, ...]:
        rate, accepts = self._planned.max_false_accepts_per_hour, choice.false_accepts
        note = f"Thresholds were chosen on the validation streams: false accepts {accepts}."
        if not choice.balanced:
            return (note,)
        return (
            f"{note} {accepts.hours:.3g} h cannot tell whether {rate:g} an hour hold, so a false accept counted as much as a "
            f"tenth of a class's keywords missed; {1 / rate:.3g} h or more of streams could tell.",
        )

    def _read(self, streams: Iterable[Item]) -> tuple[list[Values], list[tuple[Any, ...]], float | None]:
        values, keywords, repeated = list[Values](), list[tuple[Any, ...]](), list[float]()
        for index, item in enumerate(streams):
            recording, spoken = read_item(item, index)
            values.append(self._prepare(recording, index))
            keywords.append(spoken)
            repeated += [item.repeated] if isinstance(item, Stream) else []
        if not values:
            raise DataError("validation_streams() gave no recording; return at least one of the validation split.")
        return values, keywords, round(sum(repeated) / len(repeated), 4) if repeated else None

    def _prepare(self, recording: Recording, index: int) -> Values:
        if self._front_end is not None:
            if not isinstance(recording, Tensor):
                raise DataError(
                    f"item {index} of validation_streams() must be a waveform [samples], since the model listens, or a tensor of "
                    "readings, where it takes raw ones."
                )
            (found,) = compute_stream_features(self._front_end, [recording])
            self._samples.append(found.samples)
            recording = found.features
        plain = recording.float() if isinstance(recording, Tensor) else {n: v.float() for n, v in recording.items()}
        try:
            ((values, _),) = check_recordings(self._model.spec, [plain])
        except DataError as error:
            raise DataError(
                f"item {index} of validation_streams() does not fit the module, which "
                f"{'sees features of a front end' if self._front_end else 'is exported without a front end'}. {error}"
            ) from None
        return values

    @torch.no_grad()
    def _run(self, network: Callable[..., Any], values: Values) -> Tensor:
        """Outputs `[classes, frames]` of one recording."""
        port = self._model.spec.outputs[0]
        assert port.time_axis is not None
        first = as_tuple(network(**values))[0].movedim(port.time_axis, -1)[0]
        return first.reshape(-1, first.shape[-1])


def make_stream_evaluator(
    module: nn.Module,
    model: StreamingModel,
    streams: Iterable[Item] | None,
    deployment: Deployment,
    front_end: FrontEnd | Normalize | None,
    streaming: Streaming | None,
) -> StreamEvaluator | None:
    """Return a `StreamEvaluator`; None where there are no streams, or no detector to evaluate."""
    if streams is None or deployment.detector is None:
        return None
    return StreamEvaluator(module, model, streams, deployment, front_end=front_end, streaming=streaming)


def lengthen(module: nn.Module, model: StreamingModel, streaming: Streaming, values: Values) -> StreamingModel:
    """Return the same streaming form with a longer window, if it is the same on a piece of a recording; else the model.

    Args:
        module: the float module.
        model: its streaming form.
        streaming: the options that it was converted with.
        values: a recording with its batch dimension.
    """
    if model.spec.clip is not None:
        # Its window is the hop from one decision to the next.
        return model
    window = model.window * max(1, LONG_WINDOW // model.window)
    stages = streaming.stages if isinstance(streaming.stages, list | tuple) else None
    piece = cut_frames(model, values, 0, window + model.window)
    try:
        long = convert(module, piece, replace(streaming, window=window, latency=None, stages=stages))
        with torch.no_grad():
            pairs = zip(as_tuple(model.run(piece)), as_tuple(long.run(piece)), strict=True)
            same = all(float((a - b).abs().max()) <= _SAME * max(1.0, float(a.abs().max())) for a, b in pairs)
    except (LightningEspError, RuntimeError):
        # A hand-written streaming form may know one window only.
        return model
    return long if same else model


def cut_frames(model: StreamingModel, values: Values, start: int, end: int) -> Values:
    """Cut frames out of a recording; inputs that are held for all of it stay as they are.

    Args:
        model: for the axes of time.
        values: a recording with its batch dimension.
        start: first input frame.
        end: one behind the last; cut where the recording ends.
    """
    axes = {port.name: port.time_axis for port in model.spec.inputs}
    return {
        name: value if (axis := axes[name]) is None else value.narrow(axis, start, min(end, value.shape[axis]) - start)
        for name, value in values.items()
    }


def _check(model: StreamingModel, deployment: Deployment) -> tuple[tuple[str, ...], float]:
    spec = model.spec
    if spec.frame_period is None:
        raise ConfigurationError(
            "validation_streams() has keywords at seconds, and the seconds of a frame are not known: give "
            "Streaming(frame_period=...), or the datamodule or the front end a frame_period."
        )
    if not deployment.labels:
        raise ConfigurationError(
            "validation_streams() has keywords by label, and the labels of the outputs are not known: give "
            "Deployment(labels=...), or the datamodule a list `labels`."
        )
    return tuple(deployment.labels), spec.frame_period * spec.stride
