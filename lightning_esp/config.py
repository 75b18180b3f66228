"""The options of an export, as frozen dataclasses.

They are not slotted: LightningCLI reads `vars()` of each, and their docstrings are its `--help` text.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Literal

from lightning_esp.errors import ConfigurationError
from lightning_esp.options import check_types

# Written beside `<name>.hpp`.
_HEADERS = ("bundled_model", "model_config")
# Of a detector: the chip keeps the scores of every frame that is averaged.
_MOST_FRAMES = 65535


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigurationError(message)


@dataclass(frozen=True)
class Streaming:
    """Division of the model into windows and stages.

    Args:
        window: frames that one inference consumes; a multiple of the model's stride and at least the number of
            stages. None: the smallest such. `"auto"`: the one that is estimated to cost least per frame among those that
            keep to `latency`.
        stages: submodule paths, in the order of data flow, each exported as a model of its own; or a number of stages
            to cut the model into. None: one stage.
        time_axis: axis of time in the inputs, batch being axis 0. None: found from the model.
        inputs: for each input of `forward` by name, `"stream"` (sliced along time) or `"held"` (the same for a whole
            recording). None: found from the example.
        lookahead: input frames that the output may wait for; 0 refuses models that look ahead.
        caches: `"explicit"` (graph inputs and outputs that the C++ loop feeds back), `"native"` (ESP-DL's
            StreamingCache operator) or `"auto"` (native where it can be).
        frame_period: seconds from one input frame to the next. None: taken from the front end, where it has one.
        latency: for `window="auto"`: seconds from the start of a sound to the output that answers it, at most.
        outputs: which tensors to keep of what `forward` returns, by key, field or index, dotted where they lie deeper:
            `"logits"`, `"0"`, `["out.logits", "vad"]`. None: the only tensor that there is, or all of a flat tuple.
            These names stand in the bundle beside those of the files: `streaming.names` of the manifest, `kOutputNames`.
        clip: frames of the clips that the model decides on, where its output has no time axis: a classifier that pools over
            time, takes the last frame or flattens the clip. It then decides on the last `clip` frames, again and again.
            `"auto"`: the length of the recordings, where all have one. None refuses such models.
        hop: frames from one decision on a clip to the next; the window of such a model. None: the smallest where the layers
            run frame by frame, else an eighth of the clip.
        clip_form: `"incremental"` (layers run frame by frame up to the first that needs the whole clip), `"sliding"` (the
            whole network runs on the last `clip` frames, which equals the offline one anywhere in a stream), or `"auto"`:
            incremental where some layers can.
    """

    window: int | Literal["auto"] | None = None
    stages: list[str] | int | None = None
    time_axis: int | None = None
    inputs: dict[str, Literal["stream", "held"]] | None = None
    lookahead: int = 0
    caches: Literal["auto", "native", "explicit"] = "auto"
    frame_period: float | None = None
    latency: float | None = None
    outputs: str | list[str] | None = None
    clip: int | Literal["auto"] | None = "auto"
    hop: int | None = None
    clip_form: Literal["auto", "incremental", "sliding"] = "auto"

    def __post_init__(self) -> None:
        check_types(self)
        _require(
            not isinstance(self.window, int) or self.window >= 1,
            f"Streaming(window={self.window}) must be at least 1 frame.",
        )
        self._check_latency()
        _require(self.lookahead >= 0, f"Streaming(lookahead={self.lookahead}) must be 0 frames or more.")
        _require(
            self.frame_period is None or 0 < self.frame_period < math.inf,
            f"Streaming(frame_period={self.frame_period}) must be a positive number of seconds.",
        )
        self._check_stages()
        self._check_outputs()
        self._check_clip()

    def _check_outputs(self) -> None:
        if self.outputs is None:
            return
        names = [self.outputs] if isinstance(self.outputs, str) else list(self.outputs)
        _require(
            len(names) > 0 and all(names) and len(set(names)) == len(names),
            f"Streaming(outputs={self.outputs!r}) must name at least one tensor that forward returns, and each once; leave it "
            "out where forward returns a tensor or a flat tuple of them.",
        )

    def _check_clip(self) -> None:
        clip, hop = self.clip, self.hop
        _require(not isinstance(clip, int) or clip >= 1, f"Streaming(clip={clip}) must be at least 1 frame.")
        _require(hop is None or hop >= 1, f"Streaming(hop={hop}) must be at least 1 frame.")
        _require(
            hop is None or clip is not None,
            f"Streaming(clip=None, hop={hop}): a hop is the way between two decisions on clips; give clip=..., or leave it out.",
        )
        _require(
            hop is None or self.window in (None, hop),
            f"Streaming(window={self.window!r}, hop={hop}): the window of a model that decides on clips is its hop; give one of them.",
        )
        _require(
            not (isinstance(clip, int) and hop is not None and hop > clip),
            f"Streaming(clip={clip}, hop={hop}) would leave out frames between two clips; use a hop of at most {clip}.",
        )

    def _check_latency(self) -> None:
        is_auto = self.window == "auto"
        _require(
            self.latency is None or 0 < self.latency < math.inf,
            f"Streaming(latency={self.latency}) must be a positive number of seconds.",
        )
        _require(
            not is_auto or self.latency is not None,
            "Streaming(window='auto') chooses by a latency; give one in seconds, Streaming(window='auto', latency=0.05).",
        )
        _require(
            is_auto or self.latency is None,
            f"Streaming(window={self.window}, latency={self.latency}): a latency chooses the window; give window='auto' with "
            "it, or leave it out.",
        )

    def _check_stages(self) -> None:
        if isinstance(self.stages, int):
            _require(self.stages >= 1, f"Streaming(stages={self.stages}) must be at least 1.")
        elif self.stages is not None:
            paths = list(self.stages)
            _require(len(paths) > 0, "Streaming(stages=[]) names no stage; give submodule paths, or leave it out.")
            _require(len(set(paths)) == len(paths), f"Streaming(stages={paths}) names a submodule twice.")


@dataclass(frozen=True)
class Calibration:
    """Recordings and windows that calibrate the quantizer.

    Args:
        max_recordings: recordings to use, chosen at random with `seed`.
        max_windows: windows to keep over all of these, chosen at random with `seed`.
        seed: seed of both choices.
    """

    max_recordings: int = 128
    max_windows: int = 2048
    seed: int = 0

    def __post_init__(self) -> None:
        check_types(self)
        _require(self.max_recordings >= 1, f"Calibration(max_recordings={self.max_recordings}) must be at least 1.")
        _require(self.max_windows >= 1, f"Calibration(max_windows={self.max_windows}) must be at least 1.")


@dataclass(frozen=True)
class Quantization:
    """Quantization by esp-ppq.

    `"auto"` searches: int8 with every calibration method, and with equalization on top of the best; the best of them with
    every refinement; int8 with the modules that cost most in int16, more of them step by step; int16. It stops at the first
    candidate where the metrics of the user's own steps hold `tolerance`, the budget holds, and every other proof. Where no
    metric can tell, the noise at each output must be at most `tolerance` of the signal (0.005: a ratio of 23 dB). The bundle
    keeps the figures of all candidates.

    Args:
        precision: `"int8"` or `"int16"` for the whole model, or `"auto"`.
        method: esp-ppq's calibration algorithm for activations: `"kl"` (its own default), `"percentile"`, `"mse"` or
            `"minmax"`. int16 always takes `"minmax"`, and `"auto"` compares all, this one first.
        tolerance: how much a metric may fall from float to integers before the export is reported as lossy, as a
            fraction (0.005 is half a point of accuracy).
        int16: paths of submodules that stay in int16 inside an int8 model.
        equalization: let esp-ppq scale the channels between two layers so that the weights of both use their integers
            evenly; the float model computes the same. An error where there is nothing to equalize.
        min_snr_db: the least signal-to-noise ratio, in decibels, of each output of the integer stream against the float
            network on the recordings; less fails the export. None: 6 dB where the precision is int8, 15 dB where it is
            int16. Below 12 and 25 dB, or below this where it is more, the proof is amber.
        search_seconds: for `"auto"`: seconds after which no further candidate in int8 is tried. The one at work is finished and
            the best so far judged; where that does not hold, int16 is what is left. What is chosen then depends on the
            speed of the machine. None: no limit.
        refinement: an algorithm of esp-ppq that changes weights and biases after calibration until the output of each layer
            follows the float one more closely, at no cost on the chip: `"bias_correction"` takes mean errors off the
            biases, `"adaround"` rounds each weight up or down as suits the layer's output, `"tqt"` trains the weights
            through the roundings, exponents held. Each takes seconds, or some of them per layer.
    """

    precision: Literal["int8", "int16", "auto"] = "int8"
    method: Literal["kl", "percentile", "mse", "minmax"] = "kl"
    tolerance: float = 0.005
    int16: tuple[str, ...] = ()
    equalization: bool = False
    min_snr_db: float | None = None
    search_seconds: float | None = None
    refinement: Literal["bias_correction", "adaround", "tqt"] | None = None

    def __post_init__(self) -> None:
        check_types(self)
        self._check_search()
        _require(
            self.min_snr_db is None or not math.isnan(self.min_snr_db),
            f"Quantization(min_snr_db={self.min_snr_db}) must be a number of decibels, or left out.",
        )
        _require(self.tolerance >= 0, f"Quantization(tolerance={self.tolerance}) must be 0 or more.")

    def _check_search(self) -> None:
        is_auto, seconds = self.precision == "auto", self.search_seconds
        _require(
            not (is_auto and self.equalization),
            "Quantization(precision='auto', equalization=True): 'auto' tries both; leave equalization out.",
        )
        _require(
            self.precision == "int8" or self.refinement is None,
            f"Quantization(precision={self.precision!r}, refinement={self.refinement!r}): "
            f"{'it tries them all' if is_auto else 'int16 has nothing to refine'}; leave refinement out.",
        )
        _require(
            seconds is None or seconds > 0,
            f"Quantization(search_seconds={seconds}) must be a positive number of seconds, or left out.",
        )
        _require(
            is_auto or seconds is None,
            f"Quantization(precision={self.precision!r}, search_seconds={seconds}): nothing is searched for; give "
            "precision='auto' with it, or leave it out.",
        )


@dataclass(frozen=True)
class Budget:
    """Limits that an export is held to, by an estimate made before anything is written.

    Args:
        flash: bytes of the `.espdl` files, golden windows aside.
        ram: bytes of activations, caches, the copies that the pipeline keeps, and ESP-DL's own objects.
        step_us: microseconds of the costliest frame step. Only the ESP32-S3 and the ESP32-P4 have public figures to
            estimate it from.
    """

    flash: int | None = None
    ram: int | None = None
    step_us: float | None = None

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("flash", "ram", "step_us"):
            limit = getattr(self, name)
            _require(limit is None or limit > 0, f"Budget({name}={limit}) must be a positive number, or left out.")


@dataclass(frozen=True)
class Detector:
    """Event detector on the scores of each output frame, the same on the host and on the chip.

    A class fires when the mean of its scores over the last `average` frames has reached its threshold for `minimum`
    frames in a row; of several the one with the highest mean. Then nothing fires, and no frame counts, for
    `refractory` frames; and the class fires again only once its mean has been below its threshold, so that one long
    sound is one event.

    Args:
        threshold: for every class, or for each by its label; a class without one, or with an infinite one, never fires.
            Labels that start with an underscore (`_silence_`, `_unknown_`) fire only if they have a threshold of their
            own. `"auto"`: chosen for each class and chip with its integer stream on the run's `validation_streams()`.
        average: output frames of the moving average; frames before the start of a recording count as 0. None: 0.3
            seconds where thresholds are chosen, else 1 frame.
        minimum: output frames in a row over the threshold. None: 0.05 seconds where thresholds are chosen, else 1 frame.
        refractory: output frames of silence after an event. None: 0.7 seconds where thresholds are chosen, else 0
            frames.
        activation: how outputs become scores: `"softmax"` over the classes, `"sigmoid"` of each, or `"none"`.
        max_false_accepts_per_hour: what `threshold="auto"` allows all classes together on the validation streams; where they
            are too short to tell it, one counts as much as a tenth of a class's keywords. 0: none at any price.
        max_misses: share of a class's keywords that may be missed there; beyond it, or the rate, an export fails. None: amber.
        retrigger: whether a class that stays over its threshold fires again after the refractory frames.
    """

    threshold: float | dict[str, float] | Literal["auto"] = 0.5
    average: int | None = None
    minimum: int | None = None
    refractory: int | None = None
    activation: Literal["softmax", "sigmoid", "none"] = "softmax"
    max_false_accepts_per_hour: float = 1.0
    max_misses: float | None = None
    retrigger: bool = False

    def __post_init__(self) -> None:
        check_types(self)
        for name, least in (("average", 1), ("minimum", 1), ("refractory", 0)):
            frames = getattr(self, name)
            _require(
                frames is None or least <= frames <= _MOST_FRAMES,
                f"Detector({name}={frames}) must be {'at least 1 frame' if least else '0 frames or more'}, and at most "
                f"{_MOST_FRAMES}.",
            )
        rate, share = self.max_false_accepts_per_hour, self.max_misses
        _require(rate >= 0, f"Detector(max_false_accepts_per_hour={rate}) must be 0 or more.")
        _require(share is None or 0 <= share <= 1, f"Detector(max_misses={share}) is a share of keywords, 0 to 1.")
        self._check_threshold()

    def _check_threshold(self) -> None:
        if self.threshold == "auto":
            return
        labels = list(self.threshold) if isinstance(self.threshold, dict) else []
        _require(
            all(isinstance(label, str) for label in labels),
            f"Detector(threshold={self.threshold!r}) has labels that are no text; YAML takes yes, no, on and off for true and "
            "false unless they stand in quotes.",
        )
        given = self.threshold.values() if isinstance(self.threshold, dict) else [self.threshold]
        numbers = [value for value in given if isinstance(value, int | float)]
        _require(
            len(given) > 0 and len(numbers) == len(given) and all(value > -math.inf for value in numbers),
            f"Detector(threshold={self.threshold!r}) must be a number, at least one by label, or 'auto'.",
        )
        _require(
            self.activation == "none" or all(0 <= value <= 1 or value == math.inf for value in numbers),
            f"Detector(threshold={self.threshold!r}) must lie in 0 to 1, as scores after {self.activation!r} do; an infinite "
            "one never fires.",
        )


@dataclass(frozen=True)
class Deployment:
    """Contents of the bundle beside the model.

    Args:
        labels: names of the output classes. None: taken from the datamodule, where it has them.
        golden: write golden windows, made from the verification recordings, into the bundle. False leaves them out
            for those whose recordings are private; the firmware then has no self-test data.
        name: of the model in C++, where its namespace is `lesp::model_<name>`, and prefix of its files, so that two
            models fit into one firmware.
        budget: limits that make the export fail. None: none.
        detector: how outputs become events. None: the firmware reports the outputs of every window.
        frontend: what `FrontEnd.describe()` returns, so that the firmware can listen. None: taken from the
            LightningModule, or from `export(front_end=...)`.
    """

    labels: tuple[str, ...] | None = None
    golden: bool = True
    name: str = "model"
    budget: Budget | None = None
    detector: Detector | None = None
    frontend: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        check_types(self)
        _require(
            re.fullmatch(r"[a-z][a-z0-9_]{0,63}", self.name) is not None,
            f"Deployment(name={self.name!r}) becomes a part of C++ names and of file names: use at most 64 lower-case "
            "letters, digits and underscores, a letter first.",
        )
        _require(
            self.name not in _HEADERS,
            f"Deployment(name={self.name!r}) is the name of a header that every bundle has: use another one.",
        )
        self._check_labels()

    def _check_labels(self) -> None:
        labels = list(self.labels or ())
        _require(
            all(label and label.isprintable() for label in labels),
            f"Deployment(labels={labels}) must be names that can be printed: the report shows them and the firmware logs them.",
        )
        _require(
            len(set(labels)) == len(labels),
            f"Deployment(labels={labels}) names a class twice; each is one of the model's outputs.",
        )
