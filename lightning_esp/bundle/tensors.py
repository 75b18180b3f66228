"""Tensors of a whole model, found by name among those of its stages."""

from __future__ import annotations

from math import prod

from lightning_esp.bundle.ranges import check_ranges
from lightning_esp.errors import BundleError
from lightning_esp.quantization import DType, QuantizedModel, TensorInfo

ELEMENT_BYTES: dict[DType, int] = {"int8": 1, "int16": 2, "float32": 4}
MAX_RANK = 6


def tensor_bytes(tensor: TensorInfo) -> int:
    """Bytes of one window of a tensor."""
    return prod(tensor.shape) * ELEMENT_BYTES[tensor.dtype]


def frame_size(tensor: TensorInfo) -> int:
    """Values of one frame of a tensor."""
    return prod(size for axis, size in enumerate(tensor.shape) if axis != tensor.time_axis)


def input_tensors(quantized: QuantizedModel) -> tuple[TensorInfo, ...]:
    """The model's inputs, in the order of its spec."""
    found = {tensor.name: tensor for stage in reversed(quantized.stages) for tensor in stage.inputs}
    return tuple(_get(found, port.name, "input") for port in quantized.spec.inputs)


def output_tensors(quantized: QuantizedModel) -> tuple[TensorInfo, ...]:
    """The model's outputs, in the order of its spec."""
    found = {tensor.name: tensor for stage in quantized.stages for tensor in stage.outputs}
    return tuple(_get(found, port.name, "output") for port in quantized.spec.outputs)


def cache_tensors(quantized: QuantizedModel) -> tuple[TensorInfo, ...]:
    """All caches, those that the loop feeds back and those that a file keeps itself, stage by stage."""
    return tuple(
        tensor
        for stage in quantized.stages
        for tensor in (*(cache.tensor for cache in stage.caches), *stage.native_caches)
    )


def check_wiring(quantized: QuantizedModel) -> None:
    """Check that the stages fit together: every tensor has one source, every reader sees it in one form, numbers have sense.

    Raises:
        BundleError: a stage reads what nothing before it makes, two stages make one name, a reader expects another
            shape, dtype, exponent or layout than the source has, or `check_ranges` refuses a number.
    """
    known = {tensor.name: tensor for tensor in input_tensors(quantized)}
    for stage in quantized.stages:
        for tensor in stage.inputs:
            _check_reader(stage.name, tensor, known)
        for tensor in (*stage.inputs, *stage.outputs, *(cache.tensor for cache in stage.caches), *stage.native_caches):
            _check_form(stage.name, tensor)
        for tensor in stage.outputs:
            if tensor.name in known:
                raise BundleError(f"stage {stage.name!r} makes tensor {tensor.name!r}, which exists before it already.")
            known[tensor.name] = tensor
    output_tensors(quantized)
    check_ranges(quantized)


def _check_reader(stage: str, tensor: TensorInfo, known: dict[str, TensorInfo]) -> None:
    if tensor.name not in known:
        raise BundleError(
            f"stage {stage!r} reads {tensor.name!r}, which is neither a model input nor an output of an earlier stage; "
            f"known there: {sorted(known)}."
        )
    if tensor != known[tensor.name]:
        raise BundleError(
            f"stage {stage!r} reads {tensor.name!r} as {tensor}, but it is made as {known[tensor.name]}; quantize all "
            f"stages together, so that both ends agree."
        )


def _check_form(stage: str, tensor: TensorInfo) -> None:
    if tensor.dtype not in ELEMENT_BYTES or not 1 <= len(tensor.shape) <= MAX_RANK:
        raise BundleError(
            f"stage {stage!r}: tensor {tensor.name!r} is {tensor.dtype}{list(tensor.shape)}; the firmware handles "
            f"{', '.join(ELEMENT_BYTES)} with 1 to {MAX_RANK} axes."
        )
    check_axes(tensor)


def check_axes(tensor: TensorInfo) -> None:
    """Check that shape, layout and time axis of a tensor speak of the same axes.

    Raises:
        BundleError: they do not.
    """
    axes = range(len(tensor.shape))
    if min(tensor.shape, default=0) < 1 or sorted(tensor.layout) != [*axes] or tensor.time_axis not in (None, *axes):
        raise BundleError(
            f"tensor {tensor.name!r} has the shape {list(tensor.shape)}, the layout {list(tensor.layout)} and "
            f"time on axis {tensor.time_axis}; lengths are at least 1, and the layout and the axis number the axes."
        )


def _get(found: dict[str, TensorInfo], name: str, role: str) -> TensorInfo:
    if name not in found:
        raise BundleError(f"the model's {role} {name!r} belongs to no stage; the stages have {sorted(found)}.")
    return found[name]
