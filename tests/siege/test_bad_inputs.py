"""Everything that can be passed and not meant: refused by an error of this package that says what was passed, never accepted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import lightning_esp as esp
from lightning_esp.detection import (
    DetectorSettings,
    Keyword,
    compute_scores,
    detect,
    false_accepts_per_hour,
    resolve_settings,
)
from lightning_esp.errors import LightningEspError
from lightning_esp.espdl import EspdlInterpreter, read_espdl
from lightning_esp.frontend import (
    FeatureConfig,
    LogMel,
    Mfcc,
    Spectrogram,
    compute_stream_features,
    read_audio,
    restore_front_end,
)
from lightning_esp.quantization import Worker
from tests.siege.small import make_net

NAN, INF = float("nan"), float("inf")


def net() -> nn.Module:
    torch.manual_seed(0)
    return make_net()


def recordings() -> list[torch.Tensor]:
    return [torch.randn(4, 40, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]


class Place:
    """What the rows of the table need: a model in every state, and a directory."""

    def __init__(self, bundle: esp.Bundle, directory: Path, worker: Worker) -> None:
        self.bundle, self.directory, self.worker = bundle, directory, worker
        self.model = esp.convert(net(), recordings()[0])
        self.samples = esp.calibrate(self.model, recordings())
        self.simulation = esp.Simulation(bundle)
        self.espdl = next(bundle.path.rglob("*.espdl"))
        (directory / "file").write_text("no bundle")
        (directory / "folder").mkdir()

    def export(self, module: Any = None, data: Any = None, out: Any = None, **options: Any) -> object:
        return esp.export(
            net() if module is None else module,
            recordings() if data is None else data,
            out or self.directory / "fw",
            **options,
        )

    def quantize(self, **options: Any) -> object:
        return esp.quantize(**{"model": self.model, "calibration_set": self.samples, "worker": self.worker, **options})


@pytest.fixture(scope="module")
def place(bundle: esp.Bundle, tmp_path_factory: pytest.TempPathFactory, worker: Worker) -> Place:
    return Place(bundle, tmp_path_factory.mktemp("place"), worker)


Row = tuple[str, Callable[[Place], object]]
NO_MODULES: tuple[Any, ...] = (3, "net", nn.Conv1d, torch.relu, [net()], {"a": 1})
NO_RECORDING: tuple[Any, ...] = (
    *(None, 3, "abc", [[0.0]], np.zeros((4, 40), np.float32), torch.zeros(()), torch.zeros(40), torch.zeros(4, 0)),
    *(torch.zeros(5, 40), torch.zeros(1, 1, 4, 40), torch.full((4, 40), NAN), torch.full((4, 40), INF)),
    *(torch.zeros(4, 40, dtype=torch.complex64), {"y": torch.zeros(4, 40)}, {"input": [0.0]}, {}),
)
NO_PATH: tuple[Any, ...] = (None, 3, True, ["a"], b"\0", "a\0b")
NO_OPTIONS: tuple[Any, ...] = (3, "auto", {"window": 4}, [1], True)
NO_WAVEFORM: tuple[Any, ...] = (
    *(None, 3, "abc", [0.0], np.zeros(4000, np.float32), torch.zeros(()), torch.zeros(4000, dtype=torch.complex64)),
    *(torch.zeros(4000, dtype=torch.int32), torch.zeros(4000, dtype=torch.bool), torch.full((4000,), NAN)),
    *(torch.linspace(-20000, 20000, 4000), torch.zeros(2, 3, 4000)),
)
FRONT_END = LogMel(num_mel_bins=4).describe()
NO_FRONT_END: tuple[Any, ...] = (
    *(3, "LogMel", [], {}, {"kind": "LogMel"}, {**FRONT_END, "kind": "Log"}, {**FRONT_END, "bands": "4"}),
    *({**FRONT_END, "mean": [NAN] * 4}, {**FRONT_END, "mean": [0.0]}, {**FRONT_END, "scale": ["1); evil(", 1, 1, 1]}),
    *(
        {**FRONT_END, "config": {**FRONT_END["config"], "window_type": "hann; evil"}},
        {**FRONT_END, "frame_samples": -1},
    ),
    *({**FRONT_END, "config": {"bands": 3}}, {**FRONT_END, "config": {**FRONT_END["config"], "preemphasis": "0.9"}}),
    *({**FRONT_END, "hop_samples": 161}, {**FRONT_END, "scale": [INF] * 4}),
)
FEATURES: tuple[dict[str, Any], ...] = (
    *({"sample_rate": v} for v in (0, -1, 1.5, "16000", None, True, 10**7)),
    *({"frame_length": v} for v in (0, 0.5, "25", 10**6)),
    *({"num_mel_bins": v} for v in (0, -3, 2.5, "26", 10**5)),
    *({"preemphasis": v} for v in (-0.1, 1.0, NAN, "0.97", None)),
    *({"low_freq": v} for v in (-1, 20.5, NAN, "80")),
    *({"high_freq": v} for v in (-1, 20.5, INF, "7600")),
    *({"log_epsilon": v} for v in (0, -1, NAN, INF, "1")),
    *({"cepstral_lifter": v} for v in (-1, NAN, INF, "22")),
    *({"window_type": v} for v in ("hannn", 3, None)),
    *({"use_log_fbank": v} for v in (3, "1", 1.5)),
    *({name: v} for name in ("raw_energy", "use_power", "use_energy", "remove_dc_offset") for v in ("no", 2, None)),
    {"low_freq": 5000.0, "high_freq": 300.0},
)
SETTINGS = DetectorSettings((0.5, 0.5))


def rows() -> Iterator[Row]:
    for part in (recording_rows, option_rows, path_rows, sound_rows, detector_rows, simulation_rows):
        yield from part()


def recording_rows() -> Iterator[Row]:
    for value in NO_MODULES:
        yield f"convert module {value!r:.30}", lambda p, v=value: esp.convert(v, recordings()[0])
        yield f"export module {value!r:.30}", lambda p, v=value: p.export(module=v)
    for value in NO_RECORDING:
        if not isinstance(value, torch.Tensor) or value.isfinite().all():  # an example is run, not judged
            yield f"convert example {value!r:.40}", lambda p, v=value: esp.convert(net(), v)
        yield f"calibrate recording {value!r:.40}", lambda p, v=value: esp.calibrate(p.model, [v])
        yield f"export recording {value!r:.40}", lambda p, v=value: p.export(data=[v])
        yield f"simulate recording {value!r:.40}", lambda p, v=value: esp.simulate(p.bundle, v)
        yield f"Simulation.run {value!r:.40}", lambda p, v=value: p.simulation.run(v)
        yield f"Simulation.step {value!r:.40}", lambda p, v=value: p.simulation.step(v)
    for value in (3, "abc", torch.zeros(4, 40), {}, [], iter(recordings()), {"input": torch.zeros(4, 40)}):
        yield f"calibrate recordings {value!r:.40}", lambda p, v=value: esp.calibrate(p.model, v)
        yield f"export recordings {value!r:.40}", lambda p, v=value: p.export(data=v)
        yield f"prove recordings {value!r:.40}", lambda p, v=value: esp.verify(net(), p.model, p.quantize(), v)


def option_rows() -> Iterator[Row]:
    for value in NO_OPTIONS:
        for name in ("streaming", "calibration", "quantization", "deployment"):
            yield f"export {name} {value!r}", lambda p, v=value, n=name: p.export(**{n: v})
            yield f"callback {name} {value!r}", lambda p, v=value, n=name: esp.EspStreamingExport(**{n: v})
        yield f"convert streaming {value!r}", lambda p, v=value: esp.convert(net(), recordings()[0], v)
        yield f"calibrate calibration {value!r}", lambda p, v=value: esp.calibrate(p.model, recordings(), v)
        yield f"quantize quantization {value!r}", lambda p, v=value: p.quantize(quantization=v)
        yield f"quantize model {value!r}", lambda p, v=value: p.quantize(model=v)
        yield f"quantize set {value!r}", lambda p, v=value: p.quantize(calibration_set=v)
        yield f"calibrate model {value!r}", lambda p, v=value: esp.calibrate(v, recordings())
        yield f"write results {value!r}", lambda p, v=value: esp.write_bundle(v, p.directory / "w")
        yield f"write deployment {value!r}", lambda p, v=value: esp.write_bundle({}, p.directory / "w", v)
        yield f"export front end {value!r}", lambda p, v=value: p.export(front_end=v)
        yield f"export evaluate {value!r}", lambda p, v=value: p.export(evaluate=v)
        yield f"export progress {value!r}", lambda p, v=value: p.export(progress=v)
    for value in ("esp8266", "ESP32S3", "", 3, None, [], ["esp32s3", 3], b"esp32s3"):
        yield f"export target {value!r}", lambda p, v=value: p.export(target=v)
        yield f"callback target {value!r}", lambda p, v=value: esp.EspStreamingExport(target=v)
        if value is not None:
            yield f"simulate target {value!r}", lambda p, v=value: esp.simulate(p.bundle, torch.zeros(8, 9), v)
        yield f"quantize target {value!r}", lambda p, v=value: p.quantize(target=v)
        yield f"interpreter target {value!r}", lambda p, v=value: EspdlInterpreter(read_espdl(p.espdl), v)


def path_rows() -> Iterator[Row]:
    for value in NO_PATH:
        yield f"export output_dir {value!r}", lambda p, v=value: esp.export(net(), recordings(), v)
        yield f"write output_dir {value!r}", lambda p, v=value: esp.write_bundle({}, v)
        yield f"read_bundle {value!r}", lambda p, v=value: esp.read_bundle(v)
        yield f"verify_bundle {value!r}", lambda p, v=value: esp.verify_bundle(v)
        yield f"simulate bundle {value!r}", lambda p, v=value: esp.simulate(v, torch.zeros(8, 9))
        yield f"Simulation {value!r}", lambda p, v=value: esp.Simulation(v)
        yield f"read_espdl {value!r}", lambda p, v=value: read_espdl(v)
        yield f"read_audio {value!r}", lambda p, v=value: read_audio(v)
        if value is not None:
            yield f"callback output_dir {value!r}", lambda p, v=value: esp.EspStreamingExport(output_dir=v)
    for name in ("nothing", "file", "folder", ""):
        for function in (esp.read_bundle, esp.verify_bundle, esp.Simulation, read_audio):
            yield f"{function.__name__} of {name!r}", lambda p, f=function, n=name: f(p.directory / n)
    for options in (
        *({"module": v} for v in (3, True, ["net"])),
        *({"weights": v} for v in ("bset", 3, None, True)),
        *({"dry_run": v} for v in ("no", None, 2)),
        *({"on_error": v} for v in ("ignore", None, True)),
    ):
        yield f"callback {options}", lambda p, o=options: esp.EspStreamingExport(**o)


def sound_rows() -> Iterator[Row]:
    for value in NO_FRONT_END:
        yield (
            f"front end {value!r:.60}",
            lambda p, v=value: p.export(deployment=esp.Deployment(frontend=v)),
        )
        yield f"restore {value!r:.60}", lambda p, v=value: restore_front_end(v)
    for options in FEATURES:
        # Edges in the wrong order hurt only what has bands.
        kinds = (FeatureConfig, LogMel, Mfcc, Spectrogram) if len(options) == 1 else (LogMel, Mfcc)
        for kind in kinds:
            yield f"{kind.__name__} {options}", lambda p, k=kind, o=options: k(**o)
    for value in NO_WAVEFORM:
        if not isinstance(value, torch.Tensor):
            yield f"LogMel of {value!r:.40}", lambda p, v=value: LogMel(num_mel_bins=4)(v)
        yield f"hear {value!r:.40}", lambda p, v=value: compute_stream_features(LogMel(num_mel_bins=4), [v])
        yield f"export waveform {value!r:.40}", lambda p, v=value: p.export(data=[v], front_end=LogMel(num_mel_bins=4))


def detector_rows() -> Iterator[Row]:
    for name, scores in {
        "NaN": np.full((9, 2), NAN), "three classes": np.zeros((9, 3)), "one axis": np.zeros(9), "text": "abc", "None": None, "objects": [["a", "b"]],
    }.items():  # fmt: skip
        yield f"detect {name}", lambda p, s=scores: detect(SETTINGS, s)
        if name not in ("NaN", "three classes", "one axis"):
            yield f"scores {name}", lambda p, s=scores: compute_scores(s, "softmax")
    yield "scores activation", lambda p: compute_scores(np.zeros((9, 2)), "relu")
    for labels, classes in ((("a",), 2), (("a", "b"), 3), ((), 2), (None, 2), ("ab", 2)):
        for threshold in ({"a": 0.5}, {"c": 0.5}):
            detector = esp.Detector(threshold=threshold)
            yield (
                f"settings {labels} {classes} {threshold}",
                lambda p, d=detector, n=labels, c=classes: resolve_settings(d, n, c),
            )
    for start, end, label in (
        (NAN, 1, "a"),
        (0, INF, "a"),
        (2, 1, "a"),
        ("0", 1, "a"),
        (0, 1, 3),
        (-1, 1, "a"),
        (0, 1, ""),
    ):
        yield f"Keyword {start} {end} {label!r}", lambda p, s=start, e=end, n=label: Keyword(s, e, n)
    for count, hours in ((-1, 1.0), (1, 0.0), (1, -1.0), (1, NAN), (1.5, 1.0), ("1", 1.0)):
        yield f"false accepts {count} in {hours}", lambda p, c=count, h=hours: false_accepts_per_hour(c, h)


def simulation_rows() -> Iterator[Row]:
    for name in ("nothing", "", 3, None):
        yield f"peek {name!r}", lambda p, n=name: p.simulation.peek(n)
        yield f"trace {name!r}", lambda p, n=name: p.simulation.trace(torch.zeros(8, 9), [n])
    for batch in (0, -1, 1.5, "1", True):
        yield f"Simulation batch {batch!r}", lambda p, b=batch: esp.Simulation(p.bundle, batch=b)


ROWS = list(rows())
# The same in every process that collects them, so without addresses.
NAMES = [f"{re.sub(' at 0x[0-9a-f]+', '', name)} #{index}" for index, (name, _) in enumerate(ROWS)]


@pytest.mark.parametrize("check", [check for _, check in ROWS], ids=NAMES)
def test_what_cannot_be_meant_is_refused(place: Place, check: Callable[[Place], object]) -> None:
    with pytest.raises(LightningEspError) as caught:
        check(place)
    assert len(str(caught.value)) > 20
