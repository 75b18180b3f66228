"""`QuantizedModel`: the bytes of the `.espdl` files and what the firmware must know of their tensors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from lightning_esp.conversion import StreamSpec
from lightning_esp.cost import Estimate

DType: TypeAlias = Literal["int8", "int16", "float32"]


@dataclass(frozen=True)
class TensorInfo:
    """An input, output or cache of a stage as it stands in the `.espdl` file.

    Args:
        name: name in the file.
        shape: shape in the file, batch 1 included.
        dtype: `"int8"`, `"int16"` or `"float32"`.
        exponent: value = integer x 2^exponent; 0 for float32.
        layout: axis `i` of the file holds torch's axis `layout[i]`, recorded while exporting.
        time_axis: axis of time in `shape`; None where there is none.
    """

    name: str
    shape: tuple[int, ...]
    dtype: DType
    exponent: int
    layout: tuple[int, ...]
    time_axis: int | None


@dataclass(frozen=True)
class CacheInfo:
    """An explicit cache of a stage: the input `tensor`, fed from the output `next` of the window before.

    Args:
        tensor: the graph input.
        next: name of the graph output with the new value; same shape, dtype, exponent and layout.
        initial: integer that every element holds when a recording starts.
    """

    tensor: TensorInfo
    next: str
    initial: int = 0


@dataclass(frozen=True)
class StageFile:
    """One `.espdl` file: its bytes, and its tensors without the caches, which stand apart.

    Args:
        name: name of the stage.
        data: the bytes of the file.
        inputs: its inputs.
        outputs: its outputs.
        caches: explicit caches, which the loop feeds back.
        native_caches: what the file's StreamingCache operators keep themselves, by the name of the float model's cache.
        operators: types of its operators, in alphabetical order.
    """

    name: str
    data: bytes = field(repr=False)
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    caches: tuple[CacheInfo, ...]
    native_caches: tuple[TensorInfo, ...] = ()
    operators: tuple[str, ...] = ()


@dataclass(frozen=True)
class QuantizedModel:
    """A quantized model for one chip.

    Args:
        target: the chip.
        precision: `"int8"` or `"int16"`.
        spec: the outside of the float model that it came from.
        stages: its files, in the order of data flow.
        versions: versions of the tools that made it, by package name.
        graph: esp-ppq's quantized graph of the whole model, serialized, for its executor.
        estimate: what it will cost on the chip; None for a model that was read from a bundle.
    """

    target: str
    precision: str
    spec: StreamSpec
    stages: tuple[StageFile, ...]
    versions: dict[str, str]
    graph: bytes = field(default=b"", repr=False)
    estimate: Estimate | None = field(default=None, repr=False)
