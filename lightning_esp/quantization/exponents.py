"""Exponents of a quantized graph as plain data, and a pass of esp-ppq that sets them.

They are kept for each operator and operand, as esp-ppq keeps them, and not for each tensor: two operators may read a tensor at
two scales, between which the exporter puts a requantization.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from esp_ppq.core import QuantizationStates, TensorQuantizationConfig
from esp_ppq.IR import BaseGraph, QuantableOperation, Variable
from esp_ppq.quantization.optim import QuantizationOptimizationPass

from lightning_esp.errors import QuantizationError
from lightning_esp.quantization.job import Exponents, Parameter
from lightning_esp.quantization.surgery import load_graph

_OFF = (QuantizationStates.FP32, QuantizationStates.SOI)


def read_exponents(graph: bytes) -> dict[str, tuple[int, ...]]:
    """Return the exponents of a pickled quantized graph; a bias has none of its own, since they follow from its layer's."""
    return {
        key: tuple(int(step) for step in torch.log2(config.scale.double().reshape(-1)).round())
        for key, config, variable in _configs(load_graph(graph))
        if not _follows(config, variable)
    }


def read_parameters(graph: bytes) -> dict[str, Parameter]:
    """Return the parameters of a pickled quantized graph in float, by operator and operand as the exponents are."""
    found = {}
    for operation in load_graph(graph).operations.values():
        configs = operation.input_quant_config if isinstance(operation, QuantableOperation) else []
        for index, variable in enumerate(operation.inputs):
            if variable.is_parameter and variable.value is not None and torch.is_floating_point(variable.value):
                limits = (configs[index].quant_min, configs[index].quant_max) if index < len(configs) else (0, 0)
                found[f"{operation.name}|in|{index}"] = (variable.value.numpy(), *limits)
    return found


def _configs(graph: BaseGraph) -> Iterator[tuple[str, TensorQuantizationConfig, Variable]]:
    for operation in graph.topological_sort():
        if not isinstance(operation, QuantableOperation):
            continue
        ends = (
            ("in", operation.input_quant_config, operation.inputs),
            ("out", operation.output_quant_config, operation.outputs),
        )
        for side, configs, variables in ends:
            for index, (config, variable) in enumerate(zip(configs, variables, strict=False)):
                if config.state not in _OFF and config.scale is not None:
                    yield f"{operation.name}|{side}|{index}", config, variable


def _follows(config: TensorQuantizationConfig, variable: Variable) -> bool:
    """Tell whether a config is that of a bias or of another parameter that takes its scale from elsewhere."""
    passive = (QuantizationStates.PASSIVE, QuantizationStates.PASSIVE_INIT, QuantizationStates.PASSIVE_BAKED)
    return variable.is_parameter and config.state in passive


class FixedExponentsPass(QuantizationOptimizationPass):  # type: ignore[misc]
    """Sets exponents that are known, whatever calibration has found; must run before biases are quantized.

    Args:
        exponents: as `read_exponents` returns them.
    """

    def __init__(self, exponents: Exponents) -> None:
        super().__init__("lightning_esp: set exponents")
        self.exponents = exponents

    def optimize(self, graph: BaseGraph, **_: Any) -> None:
        """Set them.

        Raises:
            QuantizationError: the graph has operands that none are known of.
        """
        missing = []
        for key, config, variable in _configs(graph):
            if _follows(config, variable):
                continue
            known = self.exponents.get(key)
            if known is None or len(known) != config.scale.numel():
                missing.append(key)
                continue
            scale = torch.ldexp(torch.ones(len(known)), torch.tensor(known))
            root = config.dominated_by
            root.scale = scale.reshape(config.scale.shape).to(config.scale)
        if missing:
            raise QuantizationError(
                f"the network has operands without a trained exponent, {missing[0]!r} and {len(missing) - 1} more: it is not the "
                "network that was trained with these exponents. Train it again, or export it without them."
            )
