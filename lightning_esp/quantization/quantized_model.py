"""`QuantizedModel`: the bytes of the `.espdl` files and what the firmware must know of their tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
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

    @cached_property
    def cache_tensors(self) -> tuple[TensorInfo, ...]:
        """All caches: those that the loop feeds back, then those that the file keeps itself."""
        return (*(cache.tensor for cache in self.caches), *self.native_caches)

    @cached_property
    def tensors(self) -> tuple[TensorInfo, ...]:
        """Inputs, outputs and all caches."""
        return (*self.inputs, *self.outputs, *self.cache_tensors)

    @cached_property
    def feedback(self) -> dict[str, str]:
        """Name of the output with the new value of each explicit cache, by its name."""
        return {cache.tensor.name: cache.next for cache in self.caches}


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

    @cached_property
    def inputs(self) -> dict[str, TensorInfo]:
        """Tensors that the stages read, by name; of what several read, as the first of them does."""
        return {tensor.name: tensor for stage in reversed(self.stages) for tensor in stage.inputs}

    @cached_property
    def outputs(self) -> dict[str, TensorInfo]:
        """Tensors that the stages write, by name."""
        return {tensor.name: tensor for stage in self.stages for tensor in stage.outputs}

    @cached_property
    def caches(self) -> dict[str, TensorInfo]:
        """The caches of all stages, by name, those that a file keeps itself included."""
        return {tensor.name: tensor for stage in self.stages for tensor in stage.cache_tensors}

    @cached_property
    def feedback(self) -> dict[str, str]:
        """Name of the output with the new value of each explicit cache, by its name."""
        return {cache: new for stage in self.stages for cache, new in stage.feedback.items()}


def find_wiring_faults(spec: StreamSpec, stages: Sequence[StageFile]) -> Iterator[str]:
    """Yield where stages do not fit together: a tensor has one source, and every reader sees it in the form it is made in.

    Args:
        spec: the outside of the model, for the names of its inputs.
        stages: its files in the order of data flow.
    """
    known: dict[str, TensorInfo] = {}
    given = {port.name for port in spec.inputs}
    for stage in stages:
        for tensor in stage.inputs:
            if tensor.name in given:
                known.setdefault(tensor.name, tensor)
            if tensor.name not in known:
                yield (
                    f"stage {stage.name!r} reads {tensor.name!r}, which is neither a model input nor an output of an earlier "
                    f"stage; known there: {sorted(given | set(known))}."
                )
            elif tensor != known[tensor.name]:
                yield (
                    f"stage {stage.name!r} reads {tensor.name!r} as {tensor}, but it is made as {known[tensor.name]}; quantize "
                    "all stages together, so that both ends agree."
                )
        for tensor in stage.outputs:
            if tensor.name in given or tensor.name in known:
                yield f"stage {stage.name!r} makes tensor {tensor.name!r}, which exists before it already."
            known[tensor.name] = tensor
