"""What is sent to the worker and comes back; importing it costs nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]
Layout = tuple[int, ...]


@dataclass(frozen=True)
class StageNames:
    """What enters and leaves a stage, caches included, and which of these are caches: `(name, name of the new value)`."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    caches: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Job:
    """All that quantization needs: an ONNX graph of one window, its calibration tensors, and how the graph is cut."""

    onnx: bytes
    shapes: dict[str, tuple[int, ...]]
    samples: dict[str, Array]
    stages: tuple[StageNames, ...]
    target: str
    precision: str
    method: str
    int16: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExportedStage:
    """A stage as esp-ppq wrote it, with the layouts that it chose while writing, by tensor name, and its graph."""

    name: str
    data: bytes
    layouts: dict[str, Layout]
    graph: bytes
