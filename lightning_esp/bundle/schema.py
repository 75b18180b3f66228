"""The form of `manifest.json` and `report.json`, as dataclasses that `codec.py` writes and reads.

Tensors, clips, the choice of a window, detectors and budgets are the very types that the package computes with.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from lightning_esp.bundle.codec import OPTIONAL, Spelling
from lightning_esp.config import Budget
from lightning_esp.conversion import Clip, WindowChoice
from lightning_esp.detection import DetectorSettings
from lightning_esp.errors import BundleError, LightningEspError
from lightning_esp.quantization import TensorInfo

Figure = Annotated[float, Spelling.TEXT]


@dataclass(frozen=True)
class ExplicitCacheEntry(TensorInfo):
    """A cache that the loop feeds back, from the output `next`; every element is `initial` when a recording starts."""

    bytes: int
    next: str
    initial: int
    form: Literal["explicit"] = "explicit"


@dataclass(frozen=True)
class NativeCacheEntry(TensorInfo):
    """A cache that the file keeps itself."""

    bytes: int
    form: Literal["native"] = "native"


@dataclass(frozen=True)
class StageEntry:
    """One `.espdl` file."""

    name: str
    file: str
    sha256: str
    operators: tuple[str, ...]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    caches: tuple[ExplicitCacheEntry | NativeCacheEntry, ...]


@dataclass(frozen=True)
class StageCost:
    """Estimated cost of a stage; see `StageEstimate`. `layers` is their number, times are whole microseconds."""

    name: str
    microseconds: int | None
    activations: int
    caches: int
    copies: int
    parameters: int
    flash: int
    layers: int


@dataclass(frozen=True)
class EstimateEntry:
    """Estimated cost of a model, labelled as an estimate; see `Estimate`. What an export did not know then is 0 or None."""

    kind: str = ""
    error: dict[str, Any] | None = None
    window_us: int | None = None
    step_us: int | None = None
    step_us_cut_by_count: dict[str, int | None] = field(default_factory=dict)
    ram: int = 0
    psram: int = 0
    flash: int = 0
    buffers: int = 0
    runtime: int = 0
    stages: tuple[StageCost, ...] = ()


@dataclass(frozen=True)
class TargetEntry:
    """The model for one chip; a threshold of null never fires, a golden event is recording, output frame and label."""

    precision: str
    stages: tuple[StageEntry, ...]
    detector: Annotated[DetectorSettings | None, Spelling.NULL] = None
    golden_events: tuple[tuple[int, int, int], ...] = ()
    estimate: EstimateEntry | None = field(default=None, metadata=OPTIONAL)
    precision_search: dict[str, Any] = field(default_factory=dict, metadata=OPTIONAL)
    stream_evaluation: dict[str, Any] = field(default_factory=dict, metadata=OPTIONAL)


@dataclass(frozen=True)
class InputEntry:
    """An input of the whole model."""

    name: str
    kind: Literal["stream", "held"]


@dataclass(frozen=True)
class PaceEntry:
    """Stride, trim and delay of an output, where several outputs differ; see `Port`."""

    stride: int | None = field(default=None, metadata=OPTIONAL)
    trim: int | None = field(default=None, metadata=OPTIONAL)
    delay: int | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True)
class EdgesEntry:
    """Frames at the ends of a recording that differ from the offline ones; see `Port`."""

    unlike_first: int = 0
    unlike_last: tuple[int, ...] = ()


@dataclass(frozen=True)
class StreamEntry:
    """Division of the model into windows and stages; see `StreamSpec`.

    `paces` and `edges` have the outputs that have some; `names` is what `forward` calls each of the `outputs`, where it
    returns more than a tensor or a flat tuple.
    """

    window: int
    stride: int
    stages: int
    delay: int
    trim: int
    receptive_field: int | None
    frame_period: float | None
    caches: Literal["auto", "explicit", "native"]
    inputs: tuple[InputEntry, ...]
    outputs: tuple[str, ...]
    paces: dict[str, PaceEntry]
    edges: dict[str, EdgesEntry] = field(default_factory=dict, metadata=OPTIONAL)
    names: dict[str, str] = field(default_factory=dict, metadata=OPTIONAL)
    choice: WindowChoice | None = field(default=None, metadata=OPTIONAL)
    clip: Clip | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True)
class MetricsEntry:
    """Figures of the user's own steps: of the float model, and by chip of the integers."""

    float: dict[str, Figure]
    quantized: dict[str, dict[str, Figure]]


@dataclass(frozen=True)
class ProofEntry:
    """A proof of one chip's model; see `Proof`."""

    name: str
    figure: Figure
    limit: Figure
    passed: bool
    state: Literal["green", "amber", "failed"]
    doubt: str
    where: str


@dataclass(frozen=True)
class TargetProofEntry(ProofEntry):
    """A proof, and whose."""

    target: str


@dataclass(frozen=True)
class FrontEndEntry:
    """Return value of `FrontEnd.describe`."""

    kind: Literal["Fbank", "MFCC", "Spectrogram"]
    config: dict[str, float | str | bool]
    bands: int
    frame_samples: int
    hop_samples: int
    mean: tuple[float, ...]
    scale: tuple[float, ...]


@dataclass(frozen=True)
class NormalizeEntry:
    """Return value of `Normalize.describe`."""

    kind: Literal["Normalize"]
    channels: int
    channel_axis: int
    mean: tuple[float, ...]
    scale: tuple[float, ...]


@dataclass(frozen=True)
class Manifest:
    """`manifest.json`; `files` has the SHA-256 of every other file."""

    schema: str
    name: str
    versions: dict[str, str]
    streaming: StreamEntry
    targets: dict[str, TargetEntry]
    metrics: MetricsEntry
    proofs: tuple[TargetProofEntry, ...]
    labels: tuple[str, ...]
    files: dict[str, str]
    budget: Budget | None = None
    frontend: FrontEndEntry | NormalizeEntry | None = None


@dataclass(frozen=True)
class SizesEntry:
    """Bytes of the files by stage, of all caches, and of the golden files."""

    files: dict[str, int]
    caches: int
    golden: int


@dataclass(frozen=True)
class TargetMetricsEntry:
    """Figures of the user's own steps for one chip."""

    float: dict[str, Figure]
    quantized: dict[str, Figure]


@dataclass(frozen=True)
class TargetReport:
    """Figures of one chip; see `Verification`."""

    precision: str
    proofs: tuple[ProofEntry, ...]
    metrics: TargetMetricsEntry
    notes: tuple[str, ...]
    analysis: dict[str, Any]
    golden_windows: int
    bytes: SizesEntry
    precision_search: dict[str, Any] = field(default_factory=dict, metadata=OPTIONAL)
    stream_evaluation: dict[str, Any] = field(default_factory=dict, metadata=OPTIONAL)
    confusion: dict[str, Any] = field(default_factory=dict, metadata=OPTIONAL)


@dataclass(frozen=True)
class Report:
    """`report.json`."""

    schema: str
    targets: dict[str, TargetReport]


@contextmanager
def expecting(what: object) -> Iterator[None]:
    """Turn what a value of another form makes Python raise into an error of this package.

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
