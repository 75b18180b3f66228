"""Audio in a bundle: front end, detector, and golden data that start at samples.

`golden/<name>_audio.bin` holds the recordings of the first golden windows as samples. All numbers are
little-endian. The file starts with the magic `LEA1` and the number of recordings; then, for each, the numbers of
samples, frames and bands, the samples (int16, filled up to a multiple of 4 bytes) and the features (float32, frame by
frame).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from lightning_esp.bundle.header import GoldenBytes
from lightning_esp.bundle.literals import float_array, literal
from lightning_esp.bundle.schema import FrontEndEntry, Manifest, NormalizeEntry
from lightning_esp.bundle.tensors import frame_size, input_tensors, output_tensors
from lightning_esp.chips import choose_arithmetic
from lightning_esp.config import Deployment
from lightning_esp.detection import DetectorSettings, Scores, compute_scores, detect, resolve_settings
from lightning_esp.errors import ConfigurationError
from lightning_esp.frontend import Normalize, restore_front_end
from lightning_esp.quantization import QuantizedModel, TensorInfo
from lightning_esp.verification import Array, Golden

MAGIC = b"LEA1"

# C++ wants the fields in the order of `streaming::FrontEndConfig`, and a manifest that was read has lost it.
FIELDS = (
    "sample_rate",
    "frame_length",
    "frame_shift",
    "num_mel_bins",
    "num_ceps",
    "preemphasis",
    "cepstral_lifter",
    "window_type",
    "low_freq",
    "high_freq",
    "log_epsilon",
    "use_log_fbank",
    "raw_energy",
    "use_power",
    "use_energy",
    "remove_dc_offset",
)

KINDS = {"Fbank": "kFbank", "MFCC": "kMfcc", "Spectrogram": "kSpectrogram"}

_ARITHMETICS = {"float": "kFloat", "fixed_point": "kFixedPoint"}


def find_detector(quantized: QuantizedModel, deployment: Deployment) -> DetectorSettings | None:
    """Return the detector of a model with a threshold for each class; None where the deployment has none.

    Raises:
        ConfigurationError: its labels are not those of the model's first output.
    """
    if deployment.detector is None:
        return None
    output = output_tensors(quantized)[0]
    return resolve_settings(deployment.detector, deployment.labels or (), frame_size(output))


def check_front_end(quantized: QuantizedModel, deployment: Deployment) -> None:
    """Check that the front end makes what the model takes.

    Raises:
        ConfigurationError: the number of features in a frame differs.
    """
    if deployment.frontend is None:
        return
    is_normalize = deployment.frontend.get("kind") == Normalize.kind
    size = "channels" if is_normalize else "bands"
    needed = {"channel_axis"} if is_normalize else {"config", "frame_samples", "hop_samples"}
    missing = {"kind", "mean", "scale", size, *needed} - set(deployment.frontend)
    if missing:
        raise ConfigurationError(
            f"Deployment(frontend=...) lacks {', '.join(sorted(missing))}; pass what FrontEnd.describe() returns."
        )
    restore_front_end(deployment.frontend)  # checks every value, before one of them becomes C++
    first = input_tensors(quantized)[0]
    bands = deployment.frontend[size]
    if first.time_axis is None or frame_size(first) != bands:
        raise ConfigurationError(
            f"Deployment(frontend=...) makes {bands} features per frame, but the model's first input {first.name!r} takes "
            f"{frame_size(first)}; describe the front end that the model was trained with."
        )


def pack_audio(golden: Golden) -> bytes:
    """Return the bytes of `golden/<name>_audio.bin`; none where there is no audio."""
    if not golden.audio:
        return b""
    return MAGIC + struct.pack("<I", len(golden.audio)) + b"".join(_pack_recordings(golden))


def find_events(
    quantized: QuantizedModel, golden: Golden, detector: DetectorSettings
) -> tuple[tuple[int, int, int], ...]:
    """Return what the detector makes of the golden outputs: recording, output frame in it, label."""
    output = output_tensors(quantized)[0]
    scores = compute_scores(_frames(output, golden.outputs[output.name]), detector.activation)
    per_window = len(scores) // golden.windows
    ends = [*golden.resets[1:], golden.windows]
    return tuple(
        (recording, event.frame, event.label)
        for recording, (start, end) in enumerate(zip(golden.resets, ends, strict=True))
        for event in detect(detector, scores[start * per_window : end * per_window])
    )


def mark_events(analysis: Mapping[str, Any], settings: DetectorSettings | None) -> dict[str, Any]:
    """Add the events of the detector to the snippet of an analysis: frame and label, float and integers.

    Args:
        analysis: as `Analysis.to_report` returns it, or empty.
        settings: the detector; None: there is none.
    """
    snippet = analysis.get("snippet")
    if snippet is None or settings is None or len(snippet["float_values"]) != len(settings.thresholds):
        return dict(analysis)
    events = {kind: _find_in(snippet[f"{kind}_values"], snippet["starts"], settings) for kind in ("float", "integer")}
    return {**analysis, "snippet": {**snippet, "events": events}}


def render_audio(manifest: Manifest, target: str, golden: GoldenBytes) -> list[str]:
    """Return the blocks of `model_config.hpp` about listening, and about what comes before the model's frames.

    Args:
        manifest: of the bundle, for front end, detector and golden events.
        target: which chip.
        golden: sizes of the golden files.
    """
    entry = manifest.targets[target]
    events = [
        f"    {{.recording = {recording}, .frame = {frame}, .label = {label}}},\n"
        for recording, frame, label in entry.golden_events
    ]
    array = f"inline constexpr streaming::GoldenEvent kEvents[] = {{\n{''.join(events)}}};\n\n" if events else ""
    span = "kEvents" if events else "{}"
    ram, parameters = (entry.estimate.ram, entry.estimate.psram) if entry.estimate else (0, 0)
    return [
        "// As estimated, to tell early that memory is short: tensors, state and ESP-DL itself, and what weights take where\n"
        "// they are copied; 0: not known.\n"
        f"inline constexpr std::size_t kEstimatedRam = {ram};\n"
        f"inline constexpr std::size_t kEstimatedParameters = {parameters};",
        _render_front_end(manifest.frontend, target),
        _render_detector(entry.detector),
        golden.render("kGoldenAudio", "audio_bin", golden.audio),
        golden.render("kGoldenReadings", "readings_bin", golden.readings),
        f"{array}inline constexpr std::span<const streaming::GoldenEvent> kGoldenEvents = {span};",
    ]


def _render_front_end(front_end: FrontEndEntry | NormalizeEntry | None, target: str) -> str:
    if not isinstance(front_end, FrontEndEntry):
        return "inline constexpr streaming::FrontEndConfig kFrontEnd = {};"
    config: dict[str, Any] = front_end.config
    fields = {"kind": f"streaming::FrontEndKind::{KINDS[front_end.kind]}"}
    for name in FIELDS:
        value = config[name]
        fields[name] = (
            f"streaming::WindowFunction::k{str(value).capitalize()}" if name == "window_type" else literal(value)
        )
    fields["arithmetic"] = f"streaming::Arithmetic::{_ARITHMETICS[choose_arithmetic(config, target)]}"
    fields |= {name: str(getattr(front_end, name)) for name in ("bands", "frame_samples", "hop_samples")}
    fields |= {"mean": "kMean", "scale": "kScale"}
    ordered = "".join(f"    .{name} = {value},\n" for name, value in fields.items())
    return (
        f"{float_array('kMean', front_end.mean)}\n\n{float_array('kScale', front_end.scale)}\n\n"
        f"inline constexpr streaming::FrontEndConfig kFrontEnd = {{\n{ordered}}};"
    )


def _render_detector(detector: DetectorSettings | None) -> str:
    if detector is None:
        return "inline constexpr streaming::DetectorConfig kDetector = {};"
    return (
        f"{float_array('kThresholds', detector.thresholds)}\n\n"
        "inline constexpr streaming::DetectorConfig kDetector = {\n"
        f"    .thresholds = kThresholds,\n    .average = {detector.average},\n    .minimum = {detector.minimum},\n"
        f"    .refractory = {detector.refractory},\n"
        f"    .activation = streaming::Activation::k{detector.activation.capitalize()},\n"
        f"    .retrigger = {literal(detector.retrigger)},\n}};"
    )


def _pack_recordings(golden: Golden) -> Iterator[bytes]:
    for audio in golden.audio:
        samples = np.ascontiguousarray(audio.samples, "<i2").tobytes()
        yield struct.pack("<3I", len(audio.samples), *audio.features.shape)
        yield samples + bytes(-len(samples) % 4)
        yield np.ascontiguousarray(audio.features, "<f4").tobytes()


def _frames(tensor: TensorInfo, windows: Array) -> Scores:
    """Golden outputs `[windows, *shape without batch]` as values `[frames, elements]`."""
    assert tensor.time_axis is not None
    frames = np.moveaxis(windows, tensor.time_axis, 1).astype(np.float32)
    flat = frames.reshape(-1, frame_size(tensor))
    return np.asarray(flat * np.float32(2.0**tensor.exponent), np.float32)


def _find_in(rows: Sequence[Sequence[float]], starts: Sequence[int], settings: DetectorSettings) -> list[list[int]]:
    scores = compute_scores(np.array(rows, dtype=np.float32).T, settings.activation)
    return [
        [start + event.frame, event.label]
        for start, end in pairwise([*starts, len(scores)])
        for event in detect(settings, scores[start:end])
    ]
