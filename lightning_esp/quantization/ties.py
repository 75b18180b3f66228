"""Exponents that must be equal, made equal: an optimisation pass of esp-ppq.

A tensor that crosses a file has one exponent there. esp-ppq may give its producer and each of its readers another one,
and then simulates what the file cannot hold.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from esp_ppq.core import PASSIVE_OPERATIONS, QuantizationStates, TensorQuantizationConfig
from esp_ppq.IR import BaseGraph, QuantableOperation, Variable
from esp_ppq.quantization.optim import QuantizationOptimizationPass

from lightning_esp.errors import QuantizationError
from lightning_esp.quantization.fitting import fit_parameters
from lightning_esp.quantization.recurrent import fix_cells

# esp-ppq inserts a requantization only where scales differ by at least this much; below, a difference would be lost.
REQUANTIZE_THRESHOLD = 1e-5
_OFF = (QuantizationStates.FP32, QuantizationStates.SOI)
# ESP-DL copies the integers, or changes their sign.
_PASSING = (*PASSIVE_OPERATIONS, "InsertZeros", "Neg")


def configs_of(variable: Variable) -> list[TensorQuantizationConfig]:
    """The active quantization configs of a variable: its producer's, then its readers'."""
    found = []
    source = variable.source_op
    if isinstance(source, QuantableOperation):
        found.append(source.output_quant_config[source.outputs.index(variable)])
    for operation in variable.dest_ops:
        if isinstance(operation, QuantableOperation):
            found += [c for c, v in zip(operation.input_quant_config, operation.inputs, strict=False) if v is variable]
    # A config without a scale (the cell state of an LSTM) gets one that esp-ppq fixes for all of its kind later on.
    return [config for config in found if config.state not in _OFF and config.scale is not None]


def merge(first: TensorQuantizationConfig, second: TensorQuantizationConfig, name: str) -> None:
    """Give two configs one master, with the larger of both scales, so that nothing is clipped.

    Raises:
        QuantizationError: they have different widths.
    """
    root, other = first.dominated_by, second.dominated_by
    if root is other:
        return
    if root.num_of_bits != other.num_of_bits:
        raise QuantizationError(
            f"tensor {name!r} enters or leaves a file, but is {root.num_of_bits} bits wide for one operator and "
            f"{other.num_of_bits} for another. Put Quantization(int16=...) on whole stages, or end it further from the cut."
        )
    root.scale = torch.maximum(root.scale, other.scale)
    other._dominator = root
    other.state = QuantizationStates.PASSIVE


def tie_passing(graph: BaseGraph) -> None:
    """Give what an operator only passes on (Pad, Slice, a maximum) the scale that it has at the operator's input.

    ESP-DL copies the integers. esp-ppq ties both ends too, but where the operator reads an input of the graph, or what an
    operator of another width computes, and after alignment has taken one end away; and never those of a Neg.
    """
    for operation in graph.topological_sort():
        if operation.type not in _PASSING or not isinstance(operation, QuantableOperation):
            continue
        source = operation.input_quant_config[0]
        for config, variable in zip(operation.output_quant_config, operation.outputs, strict=True):
            if not any(c.state in _OFF or c.scale is None for c in (source, config)):
                merge(source, config, variable.name)


def tie_operands(graph: BaseGraph) -> None:
    """Give a tensor that one operator reads twice, as `x * x` does, one scale there.

    esp-ppq calibrates each operand for itself and simulates two scales; its exporter, which asks by the tensor, writes one.
    """
    for operation in graph.operations.values():
        if not isinstance(operation, QuantableOperation):
            continue
        first: dict[str, TensorQuantizationConfig] = {}
        for config, variable in zip(operation.input_quant_config, operation.inputs, strict=False):
            if not variable.is_parameter and config.state not in _OFF and config.scale is not None:
                merge(first.setdefault(variable.name, config), config, variable.name)


class TiePass(QuantizationOptimizationPass):  # type: ignore[misc]
    """Ties what crosses a file, coarsens outputs that are finer than their accumulators, and makes parameters fit.

    It must run after alignment and before the biases are quantized, whose scales follow from those of the inputs.
    """

    def __init__(self, crossing: Iterable[str], pairs: Iterable[tuple[str, str]]) -> None:
        super().__init__("lightning_esp: tie exponents")
        self.crossing = tuple(crossing)
        self.pairs = tuple(pairs)

    def optimize(self, graph: BaseGraph, **_: Any) -> None:
        """Tie what only passes values on, what is read twice, all readers of each crossing variable, both names of each pair;
        then check the accumulators.
        """
        fix_cells(graph)
        tie_passing(graph)
        tie_operands(graph)
        for name in self.crossing:
            configs = configs_of(graph.variables[name])
            for config in configs[1:]:
                merge(configs[0], config, name)
        for cache, new in self.pairs:
            before, after = configs_of(graph.variables[cache]), configs_of(graph.variables[new])
            if before and after:
                merge(before[0], after[0], cache)
        self._tie_close_scales(graph)
        # Coarser inputs ask for coarser outputs; scales only grow, so this ends.
        while self._coarsen(graph) or fit_parameters(graph):
            pass

    def _tie_close_scales(self, graph: BaseGraph) -> None:
        for variable in graph.variables.values():
            if variable.is_parameter:
                continue
            configs = configs_of(variable)
            for config in configs[1:]:
                gap = (config.scale - configs[0].scale).abs().max().item()
                if 0 < gap < REQUANTIZE_THRESHOLD and config.num_of_bits == configs[0].num_of_bits:
                    merge(configs[0], config, variable.name)

    def _coarsen(self, graph: BaseGraph) -> bool:
        # ESP-DL shifts accumulators to the right only. An output finer than its accumulator holds no more information,
        # so the accumulator's scale loses nothing.
        changed = False
        for operation in graph.topological_sort():
            if operation.type not in ("Conv", "ConvTranspose", "Gemm", "MatMul", "Mul"):
                continue
            if not isinstance(operation, QuantableOperation):
                continue
            first, second = operation.input_quant_config[:2]
            output = operation.output_quant_config[0]
            if any(config.state in _OFF or config.scale is None for config in (first, second, output)):
                continue
            finest = first.scale.max() * second.scale.max()
            if output.scale.max() < finest:
                root = output.dominated_by
                root.scale = torch.full_like(root.scale, float(finest))
                changed = True
        return changed
