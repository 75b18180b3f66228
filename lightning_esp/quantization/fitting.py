"""Parameters that must not clip: scales of inputs and weights, coarsened until biases and constants fit their integers.

A bias has the scale of its layer's products. Where inputs or weights are tiny beside it, it needs more integers than its
width has, and esp-ppq saturates it without a word.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from esp_ppq.core import QuantizationStates, TensorQuantizationConfig
from esp_ppq.IR import BaseGraph, QuantableOperation, Variable
from torch import Tensor

from lightning_esp.errors import QuantizationError
from lightning_esp.quantization.onnx_graph import module_path

_PRODUCTS = ("Conv", "ConvTranspose", "Gemm")
_CONSTANTS = ("Add", "Sub", "Mul", "Div", "PRelu")
# esp-ppq writes biases of 64 bits for some chips, but sums of products are followed on the host in doubles.
_WIDEST = 2**39
_OFF = (QuantizationStates.FP32, QuantizationStates.SOI)


def fit_parameters(graph: BaseGraph) -> bool:
    """Coarsen scales where a bias, the constant of an operator or the value of a Pad would clip.

    Must run before the biases are quantized. What it changes may ask for coarser outputs, and those for another round.

    Args:
        graph: a graph whose activations and weights have their scales.

    Returns:
        Whether anything was changed.
    """
    changed = False
    for operation in graph.topological_sort():
        if isinstance(operation, QuantableOperation):
            if operation.type in _PRODUCTS and len(operation.inputs) == 3:
                changed |= _fit_bias(operation)
            elif operation.type in _CONSTANTS:
                changed |= _fit_constants(operation)
            elif operation.type == "Pad":
                changed |= _fit_padding(operation)
    return changed


def _fit_bias(operation: QuantableOperation) -> bool:
    source, weight, bias = operation.input_quant_config
    value, weights = operation.inputs[2].value, operation.inputs[1]
    if value is None or any(_is_off(config) for config in (source, weight)):
        return False
    # Half of the integers stay for the products, which are added to the bias in a register that is no wider.
    limit = min(bias.quant_max, _WIDEST) // 2
    steps = _missing(value.abs().reshape(-1) / (source.scale * weight.scale), limit)
    # One scale for all channels is as coarse as the largest bias needs it.
    steps = steps if weight.scale.numel() > 1 else steps.max().reshape(weight.scale.shape)
    if not bool(steps.any()):
        return False
    # The weights are this layer's alone, but lose no more than half of their bits; the input takes the rest.
    taken = torch.minimum(steps, _spare(weights.value, weight))
    for config in _configs(weights):
        config.dominated_by.scale = config.scale * 2.0**taken
    rest = float((steps - taken).max())
    if rest > 0:
        root = source.dominated_by
        root.scale = root.scale * 2.0**rest
    return True


def _missing(integers: Tensor, limit: int) -> Tensor:
    """By how many binary places magnitudes exceed a limit, 0 where they do not."""
    return torch.log2(integers.double() / limit).ceil().clamp(min=0)


def _spare(weights: Tensor, config: TensorQuantizationConfig) -> Tensor:
    """Count binary places that weights of each scale may still lose: half of their bits, any number if all are 0."""
    scale = config.scale.double()
    rows = weights.movedim(config.channel_axis, 0).flatten(1) if scale.numel() > 1 else weights.reshape(1, -1)
    peaks = rows.abs().amax(dim=1).double().reshape(scale.shape)
    lost = torch.log2(scale * config.quant_max / peaks).floor().clamp(min=0)
    return torch.where(peaks == 0, math.inf, (config.num_of_bits // 2 - 1 - lost).clamp(min=0))


def _configs(variable: Variable) -> Iterator[TensorQuantizationConfig]:
    """A parameter's config at each of its readers."""
    for operation in variable.dest_ops:
        if isinstance(operation, QuantableOperation):
            pairs = zip(operation.input_quant_config, operation.inputs, strict=False)
            yield from (config for config, found in pairs if found is variable and not _is_off(config))


def _fit_constants(operation: QuantableOperation) -> bool:
    changed = False
    for config, variable in zip(operation.input_quant_config, operation.inputs, strict=False):
        if variable.is_parameter and variable.value is not None and not _is_off(config):
            changed |= _widen(config, variable.value)
    return changed


def _fit_padding(operation: QuantableOperation) -> bool:
    value = operation.inputs[2].value if len(operation.inputs) > 2 else None
    source = operation.input_quant_config[0]
    return value is not None and not _is_off(source) and _widen(source, value)


def _widen(config: TensorQuantizationConfig, value: Tensor) -> bool:
    if not torch.is_floating_point(value) or config.scale.numel() != 1:
        return False
    steps = float(_missing(value.abs().max() / config.scale, config.quant_max).max())
    root = config.dominated_by
    root.scale = root.scale * 2.0**steps
    return steps > 0


def _is_off(config: TensorQuantizationConfig) -> bool:
    return config.state in _OFF or config.scale is None


def check_parameters(graph: BaseGraph, stages: Sequence[str]) -> None:
    """Refuse a graph with a parameter that clips.

    Args:
        graph: the quantized graph.
        stages: names of the stages.

    Raises:
        QuantizationError: there is one; the message names its module, the value and what its integers hold.
    """
    for operation in graph.topological_sort():
        # The bound of a Clip beyond its input's range changes nothing.
        if not isinstance(operation, QuantableOperation) or operation.type == "Clip":
            continue
        for config, variable in zip(operation.input_quant_config, operation.inputs, strict=False):
            if variable.is_parameter and not _is_off(config) and _clips(config, variable.value):
                _refuse(operation, config, variable, stages)


def _clips(config: TensorQuantizationConfig, value: Tensor | None) -> bool:
    if value is None or not torch.is_floating_point(value) or not value.numel():
        return False
    integers = value.double() / _along(config, value)
    # What rounds to the last integer does not clip; esp-ppq chooses scales so that the largest negative one may.
    return bool(((integers > float(config.quant_max) + 1) | (integers < float(config.quant_min) - 1)).any())


def _along(config: TensorQuantizationConfig, value: Tensor) -> Tensor:
    """The scale, or that of each channel along the axis of the channels."""
    scale: Tensor = config.scale.double()
    shape = [-1 if axis == config.channel_axis else 1 for axis in range(value.ndim)]
    return scale.reshape(shape if scale.numel() > 1 else [])


def _refuse(
    operation: QuantableOperation, config: TensorQuantizationConfig, variable: Variable, stages: Sequence[str]
) -> None:
    peak, most = float(variable.value.abs().max()), float(config.scale.double().max() * config.quant_max)
    raise QuantizationError(
        f"module {module_path(operation.name, stages)!r}: a parameter of {operation.type} ({variable.name}) is {peak:.6g}, but "
        f"its {config.num_of_bits} bits hold at most {most:.6g}, so it would be clipped. Train the module with weight decay, "
        "or scale its inputs, until its parameters are smaller."
    )
