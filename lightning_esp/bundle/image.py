"""One model in one container file: what `model_config.hpp` holds in binary form, the `.espdl` files, and a few golden windows.

A firmware reads it at start (`components/lesp_streaming/include/streaming/model_image.hpp`), so another model needs no other
app. All numbers are little-endian and of 4 bytes. The file starts with the magic `LEMI`, the version of the form, the bytes
in all and the CRC32 of all that follows: the number of sections, for each its kind, offset and bytes, and the sections, each
at a multiple of 16 bytes. Kind 1 is the configuration, kind 2 the golden windows (`golden.py`), kind 16 + i the file of stage
i.

The configuration is one field after the other. A text is its bytes without the end, then these, a zero, and zeros up to a
multiple of 4; an array is the number of its elements, then these.

- numbers of tensors, caches, stages and labels in all, to make room for;
- name, target, window, stride, delay, frame period in us, rounding (0 half up, 1 half to even);
- inputs and outputs, two arrays of tensors. A tensor: name, type (0 int8, 1 int16, 2 float32), exponent, rank, shape, layout,
  time axis or -1, bytes;
- each stage: name, inputs, outputs, its array of caches (tensor, name of the new value, initial value), and its file (name,
  partition, bytes, CRC32);
- each label;
- front end: kind (0 none, and nothing follows; 4 raw readings, and mean and factor of each channel follow), the fields of `FIELDS`, arithmetic (0 float, 1 fixed point), bands,
  samples of a frame and of a hop, mean, scale;
- detector: thresholds (none: no detector; infinite: never), average, minimum, refractory, activation, retrigger;
- estimated bytes of RAM, and of parameters where they are copied.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Literal

import numpy as np

from lightning_esp.bundle.audio import FIELDS, KINDS
from lightning_esp.bundle.bundle import MANIFEST, Bundle
from lightning_esp.bundle.golden import take_windows
from lightning_esp.bundle.header import frame_period_us, name_parts
from lightning_esp.bundle.naming import golden_path, partition_label, stage_path
from lightning_esp.bundle.reader import read_model
from lightning_esp.bundle.readings import find_normalize
from lightning_esp.bundle.schema import FrontEndEntry, Manifest, NormalizeEntry, expecting
from lightning_esp.bundle.tensors import ELEMENT_BYTES, input_tensors, output_tensors, tensor_bytes
from lightning_esp.chips import ARITHMETICS, HALF_EVEN_TARGETS, choose_arithmetic
from lightning_esp.detection import DetectorSettings
from lightning_esp.errors import BundleError
from lightning_esp.quantization import QuantizedModel, StageFile, TensorInfo

MAGIC, VERSION, ALIGNMENT = b"LEMI", 1, 16
HEADER_BYTES = 16
CONFIG, GOLDEN, FIRST_FILE = 1, 2, 16
WINDOWS = 16

DTYPES = tuple(ELEMENT_BYTES)
WINDOW_FUNCTIONS = ("hanning", "hann", "sine", "hamming", "povey", "blackman", "rectangular")
# Behind the kinds of front ends that listen.
NORMALIZE = 1 + len(KINDS)
ACTIVATIONS: tuple[Literal["softmax", "sigmoid", "none"], ...] = ("softmax", "sigmoid", "none")
REALS = ("preemphasis", "cepstral_lifter", "low_freq", "high_freq", "log_epsilon")


def pack_image(bundle: Bundle, target: str | None = None, windows: int = WINDOWS) -> bytes:
    """Return the container of one chip's model; the same bytes each time.

    Args:
        bundle: from `read_bundle` or `write_bundle`.
        target: which chip; None: the only one, or the first.
        windows: how many golden windows it takes along, for the self-test after an update.

    Raises:
        BundleError: the bundle holds no model for `target`, or no golden windows (`Deployment(golden=False)`): the chip
            could not tell then whether an update computes what it should.
    """
    model = read_model(bundle, target)
    if windows < 1:
        raise BundleError(f"pack_image(windows={windows}) must be at least 1; the chip tests an update with them.")
    path = bundle.path / golden_path(model.target, bundle.name)
    if not path.exists():
        raise BundleError(
            f"{bundle.path} holds no golden windows, by which the chip tests an update; export with Deployment(golden=True)."
        )
    with expecting(bundle.path / MANIFEST):
        config = _pack_config(bundle.contents, model)
    sections = {CONFIG: config, GOLDEN: take_windows(path.read_bytes(), windows)}
    sections |= {FIRST_FILE + index: stage.data for index, stage in enumerate(model.stages)}
    return _join(sections)


def _join(sections: Mapping[int, bytes]) -> bytes:
    """Return a container with these sections by kind."""
    offset = _align(HEADER_BYTES + 4 + 12 * len(sections))
    table, parts = struct.pack("<I", len(sections)), []
    for kind, data in sections.items():
        table += struct.pack("<3I", kind, offset, len(data))
        parts.append(data + bytes(-len(data) % ALIGNMENT))
        offset += len(parts[-1])
    body = table + bytes(-(HEADER_BYTES + len(table)) % ALIGNMENT) + b"".join(parts)
    return struct.pack("<4s3I", MAGIC, VERSION, HEADER_BYTES + len(body), zlib.crc32(body)) + body


def _align(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT


def _pack_config(manifest: Manifest, model: QuantizedModel) -> bytes:
    spec, name, entry = model.spec, manifest.name, manifest.targets[model.target]
    inputs, outputs = input_tensors(model), output_tensors(model)
    caches = sum(len(stage.caches) for stage in model.stages)
    ends = sum(len(stage.inputs) + len(stage.outputs) for stage in model.stages)
    counts = _words(len(inputs) + len(outputs) + ends, caches, len(model.stages), len(manifest.labels))
    estimate = (entry.estimate.ram, entry.estimate.psram) if entry.estimate else (0, 0)
    return b"".join(
        [
            counts,
            _text(name) + _text(model.target),
            _words(spec.window, spec.stride, spec.delay, frame_period_us(spec), model.target in HALF_EVEN_TARGETS),
            _tensors(inputs) + _tensors(outputs),
            *(_stage(model, name, index) for index in range(len(model.stages))),
            *(_text(label) for label in manifest.labels),
            _front_end(manifest.frontend, model.target),
            _detector(entry.detector),
            _words(*estimate),
        ]
    )


def _stage(model: QuantizedModel, name: str, index: int) -> bytes:
    stage: StageFile = model.stages[index]
    path = stage_path(model.target, name, name_parts(model, name).stages[stage.name])
    caches = [_tensor(cache.tensor) + _text(cache.next) + _words(cache.initial) for cache in stage.caches]
    return b"".join(
        [
            _text(stage.name),
            _tensors(stage.inputs) + _tensors(stage.outputs),
            _words(len(caches)) + b"".join(caches),
            _text(PurePosixPath(path).name) + _text(partition_label(name, index)),
            struct.pack("<2I", len(stage.data), zlib.crc32(stage.data)),
        ]
    )


def _tensors(tensors: Sequence[TensorInfo]) -> bytes:
    return _words(len(tensors)) + b"".join(_tensor(tensor) for tensor in tensors)


def _tensor(tensor: TensorInfo) -> bytes:
    time_axis = -1 if tensor.time_axis is None else tensor.time_axis
    return _text(tensor.name) + _words(
        DTYPES.index(tensor.dtype),
        tensor.exponent,
        len(tensor.shape),
        *tensor.shape,
        *tensor.layout,
        time_axis,
        tensor_bytes(tensor),
    )


def _front_end(front_end: FrontEndEntry | NormalizeEntry | None, target: str) -> bytes:
    if (normalize := find_normalize(front_end)) is not None:
        return _words(NORMALIZE) + _reals(normalize.mean.tolist()) + _reals(normalize.factor.tolist())
    if not isinstance(front_end, FrontEndEntry):
        return _words(0)
    config: dict[str, Any] = {**front_end.config}
    config["window_type"] = WINDOW_FUNCTIONS.index(config["window_type"])
    return b"".join(
        [
            _words(1 + list(KINDS).index(front_end.kind)),
            *(struct.pack("<f" if name in REALS else "<i", config[name]) for name in FIELDS),
            _words(ARITHMETICS.index(choose_arithmetic(config, target))),
            _words(front_end.bands, front_end.frame_samples, front_end.hop_samples),
            _reals(front_end.mean) + _reals(front_end.scale),
        ]
    )


def _detector(detector: DetectorSettings | None) -> bytes:
    if detector is None:
        return _reals(()) + _words(1, 1, 0, 0, False)
    activation = ACTIVATIONS.index(detector.activation)
    counts = _words(detector.average, detector.minimum, detector.refractory, activation, detector.retrigger)
    return _reals(detector.thresholds) + counts


def _words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}i", *values)


def _reals(values: Sequence[float]) -> bytes:
    return _words(len(values)) + np.asarray(values, "<f4").tobytes()


def _text(text: str) -> bytes:
    data = text.encode() + b"\0"
    if b"\0" in data[:-1]:
        raise BundleError(f"{text!r} holds a zero character, which no name on the chip can; rename it.")
    return _words(len(data) - 1) + data + bytes(-len(data) % 4)
