"""Messages to the worker and back; importing them costs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]
Layout = tuple[int, ...]
# Of each tensor as an operator reads or writes it, `<operator>|in|0` say: one exponent, or one for each channel.
Exponents = Mapping[str, tuple[int, ...]]
# Float values of a parameter, and the smallest and largest integer that it may become.
Parameter = tuple[Array, int, int]


@dataclass(frozen=True)
class StageNames:
    """Inputs and outputs of a stage, caches included, and the caches among them: `(name, name of the new value)`."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    caches: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Job:
    """All that quantization needs: an ONNX graph of one window, its calibration tensors, and how the graph is cut.

    `initial` holds the start value of each cache; `exponents`, where there are any, what is not to be calibrated (see
    `quantization.exponents`).
    """

    onnx: bytes
    shapes: dict[str, tuple[int, ...]]
    samples: dict[str, Array]
    stages: tuple[StageNames, ...]
    target: str
    precision: str
    method: str
    int16: tuple[str, ...] = ()
    equalization: bool = False
    refinement: str | None = None
    cache_form: str = "explicit"
    initial: Mapping[str, float] = field(default_factory=dict)
    exponents: Exponents = field(default_factory=dict)


@dataclass(frozen=True)
class ExportedStage:
    """A stage as esp-ppq wrote it.

    Args:
        name: name of the stage.
        data: the bytes of the file.
        layouts: the layouts that were chosen while writing, by tensor name.
        native: the caches that became StreamingCache operators, with their shapes and exponents in the file.
    """

    name: str
    data: bytes
    layouts: dict[str, Layout]
    native: tuple[NativeCache, ...] = ()


@dataclass(frozen=True)
class NativeCache:
    """A cache inside a file: what a StreamingCache operator remembers."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    exponent: int
    layout: Layout


@dataclass(frozen=True)
class Suspect:
    """The first tensor of a graph that differs from the same tensor of another one.

    Args:
        operator: name of the operator that writes it.
        type: its ONNX type.
        tensor: name of the tensor.
    """

    operator: str
    type: str
    tensor: str
