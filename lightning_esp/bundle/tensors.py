"""Tensors of a whole model, found by name among those of its stages."""

from __future__ import annotations

from math import prod

from lightning_esp.bundle.ranges import check_ranges
from lightning_esp.errors import BundleError
from lightning_esp.quantization import DType, QuantizedModel, TensorInfo, find_wiring_faults

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
    return tuple(_get(quantized.inputs, port.name, "input") for port in quantized.spec.inputs)


def output_tensors(quantized: QuantizedModel) -> tuple[TensorInfo, ...]:
    """The model's outputs, in the order of its spec."""
    return tuple(_get(quantized.outputs, port.name, "output") for port in quantized.spec.outputs)


def check_wiring(quantized: QuantizedModel) -> None:
    """Check that the stages fit together, and that their tensors have forms and numbers that the firmware handles.

    Raises:
        BundleError: `find_wiring_faults` finds one, a tensor has another form, or `check_ranges` refuses a number.
    """
    input_tensors(quantized)
    for fault in find_wiring_faults(quantized.spec, quantized.stages):
        raise BundleError(fault)
    for stage in quantized.stages:
        for tensor in stage.tensors:
            _check_form(stage.name, tensor)
    output_tensors(quantized)
    check_ranges(quantized)


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
