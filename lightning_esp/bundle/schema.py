"""The form of `manifest.json` and `report.json`, which a stranger's bundle may not have.

A key that is not listed may hold anything. Figures that JSON has no number for (infinity, NaN) stand as text.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from types import UnionType
from typing import Any, Literal, TypedDict, Union, get_args, get_origin, get_type_hints, is_typeddict

from lightning_esp.errors import BundleError, LightningEspError
from lightning_esp.options import describe_type, fits

Figure = float | str


class TensorEntry(TypedDict):
    """A tensor of a stage: `shape` with batch 1, axis i of which is axis `layout[i]` of the PyTorch tensor."""

    name: str
    shape: list[int]
    dtype: Literal["int8", "int16", "float32"]
    exponent: int
    layout: list[int]
    time_axis: int | None


class CacheEntry(TensorEntry, total=False):
    """A cache; an explicit one names the output that holds its `next` value, and its `initial` integer."""

    form: Literal["explicit", "native"]
    next: str
    initial: int


class StageEntry(TypedDict):
    """One `.espdl` file."""

    name: str
    file: str
    sha256: str
    operators: list[str]
    inputs: list[TensorEntry]
    outputs: list[TensorEntry]
    caches: list[CacheEntry]


class DetectorEntry(TypedDict):
    """The detector; a threshold of None never fires."""

    thresholds: list[float | None]
    average: int
    minimum: int
    refractory: int
    activation: Literal["softmax", "sigmoid", "none"]
    retrigger: bool


class _EstimateEntry(TypedDict, total=False):
    window_us: int | None
    step_us: int | None
    ram: int
    psram: int
    flash: int


class _Target(TypedDict):
    precision: str
    stages: list[StageEntry]


class TargetEntry(_Target, total=False):
    """The model for one chip."""

    estimate: _EstimateEntry
    golden_events: list[list[int]]
    detector: DetectorEntry | None


class InputEntry(TypedDict):
    """An input of the whole model."""

    name: str
    kind: Literal["stream", "held"]


class WindowEntry(TypedDict):
    """A window that keeps to a latency, in seconds, and what it costs per frame."""

    window: int
    latency: float
    frame_us: float | None


class ChoiceEntry(TypedDict):
    """Choice of the window."""

    latency: float
    chip: str
    options: list[WindowEntry]


class _Stream(TypedDict):
    window: int
    stride: int
    stages: int
    delay: int
    trim: int
    receptive_field: int | None
    frame_period: float | None
    caches: Literal["auto", "explicit", "native"]
    inputs: list[InputEntry]
    outputs: list[str]
    paces: dict[str, dict[str, int]]


class _Clip(TypedDict):
    frames: int
    hop: int
    form: Literal["incremental", "sliding"]
    held: list[str]


class ClipEntry(_Clip, total=False):
    """Streaming form of a model that decides on whole clips."""

    lookahead: int


class EdgesEntry(TypedDict):
    """Frames at the ends of a recording that differ from the offline ones; see `Port`."""

    unlike_first: int
    unlike_last: list[int]


class StreamEntry(_Stream, total=False):
    """Division of the model into windows and stages."""

    choice: ChoiceEntry
    clip: ClipEntry
    # By output: frames at the ends of a recording that differ from the offline ones, where there are some.
    edges: dict[str, EdgesEntry]
    # What `forward` calls each of the `outputs`, where it returns more than a tensor or a flat tuple.
    names: dict[str, str]


class MetricsEntry(TypedDict):
    """Figures of the user's own steps."""

    float: dict[str, Figure]
    quantized: dict[str, dict[str, Figure]]


class ProofEntry(TypedDict):
    """A proof of one chip's model."""

    name: str
    figure: Figure
    limit: Figure
    passed: bool
    state: Literal["green", "amber", "red"]
    doubt: str
    where: str


class TargetProofEntry(ProofEntry):
    """A proof, and whose."""

    target: str


class FrontEndEntry(TypedDict):
    """Return value of `FrontEnd.describe`."""

    kind: Literal["Fbank", "MFCC", "Spectrogram"]
    config: dict[str, float | str | bool]
    bands: int
    frame_samples: int
    hop_samples: int
    mean: list[float]
    scale: list[float]


class NormalizeEntry(TypedDict):
    """Return value of `Normalize.describe`."""

    kind: Literal["Normalize"]
    channels: int
    channel_axis: int
    mean: list[float]
    scale: list[float]


class _Manifest(TypedDict):
    name: str
    versions: dict[str, str]
    streaming: StreamEntry
    targets: dict[str, TargetEntry]
    metrics: MetricsEntry
    proofs: list[TargetProofEntry]
    labels: list[str]
    files: dict[str, str]


class Manifest(_Manifest, total=False):
    """`manifest.json`."""

    budget: dict[str, float | None] | None
    # Of all chips, in a bundle that was written before each had its own.
    detector: DetectorEntry | None
    frontend: FrontEndEntry | NormalizeEntry | None


class _SizesEntry(TypedDict):
    files: dict[str, int]
    caches: int
    golden: int


class _ReportMetrics(TypedDict):
    float: dict[str, Figure]
    quantized: dict[str, Figure]


class _TargetReport(TypedDict):
    precision: str
    proofs: list[ProofEntry]
    metrics: _ReportMetrics
    notes: list[str]
    analysis: dict[str, Any]
    golden_windows: int
    bytes: _SizesEntry


class Report(TypedDict):
    """`report.json`."""

    targets: dict[str, _TargetReport]


@contextmanager
def expecting(what: object) -> Iterator[None]:
    """Turn what a value of another form makes Python raise, where no schema tells it, into an error of this package.

    Args:
        what: the file or files that are read, for the message.

    Raises:
        BundleError: something in them is not what an export writes.
    """
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, struct.error) as error:
        if isinstance(error, LightningEspError):
            raise
        raise BundleError(
            f"{what} has another form than an export gives it ({type(error).__name__}: {error}). Export again."
        ) from error


def find_fault(values: Any, form: Any) -> str:
    """Return where and how a value from JSON is not of a form, one that is in this module; empty where it is.

    Example:
        >>> find_fault({"name": "x", "kind": "held."}, InputEntry)
        "kind is 'held.'; it must be 'stream' or 'held'"
    """
    return next(_faults(values, form, ""), "")


def _faults(value: Any, form: Any, where: str) -> Iterator[str]:
    kind, inner = get_origin(form), get_args(form)
    if kind in (Union, UnionType) and any(map(is_typeddict, inner)):  # an object or null
        if value is not None:
            yield from _faults(value, _member(value, [each for each in inner if is_typeddict(each)]), where)
        return
    if is_typeddict(form) and isinstance(value, Mapping):
        yield from _faults_of_keys(value, form, where)
    elif kind is dict and isinstance(value, Mapping):
        for key, each in value.items():
            yield from _faults(each, inner[1], f"{where}{key}.")
    elif kind is list and isinstance(value, list):
        for index, each in enumerate(value):
            yield from _faults(each, inner[0], f"{where.removesuffix('.')}[{index}].")
    elif is_typeddict(form) or not fits(value, form):
        needed = "an object" if is_typeddict(form) else describe_type(form)
        yield f"{where.removesuffix('.') or 'it'} is {repr(value)[:60]}; it must be {needed}"
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{where.removesuffix('.')} is {value}; it must be a finite number"


def _member(value: Any, members: list[Any]) -> Any:
    """Of several objects the one that has the value's `kind`, or else the first."""
    if len(members) == 1 or not isinstance(value, Mapping):
        return members[0]
    return next((each for each in members if fits(value.get("kind"), _hints_of(each)["kind"])), members[0])


def _faults_of_keys(values: Mapping[str, Any], form: Any, where: str) -> Iterator[str]:
    for key in sorted(form.__required_keys__ - set(values)):
        yield f"{where}{key} is missing"
    for key, inner in _hints_of(form).items():
        if key in values:
            yield from _faults(values[key], inner, f"{where}{key}.")


@cache
def _hints_of(form: Any) -> dict[str, Any]:
    """Return the types of the keys of a form; to evaluate them costs more than to check a manifest against them."""
    return get_type_hints(form)
