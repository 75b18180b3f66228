"""Noise of each operator of a quantized graph, measured in the worker against the same graph without quantization."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from esp_ppq.core import QuantizationStates, TensorQuantizationConfig
from esp_ppq.executor import TorchExecutor
from esp_ppq.executor.base import QuantOPRuntimeHook
from esp_ppq.IR import BaseGraph, Operation, QuantableOperation
from torch import Tensor

from lightning_esp.quantization.batches import takes_batches
from lightning_esp.quantization.floating import switch_off, switch_on, without_quantization
from lightning_esp.quantization.job import Array
from lightning_esp.quantization.noise import NoiseFigures, OperatorNoise, TensorUse
from lightning_esp.quantization.surgery import load_graph

_ACTIVE = (QuantizationStates.ACTIVATED, QuantizationStates.PASSIVE)


def measure_noise(graph: bytes, windows: Sequence[Mapping[str, Array]], feedback: Mapping[str, str]) -> NoiseFigures:
    """Stream recordings through a graph, as it is and without quantization, and compare every operator.

    Args:
        graph: a pickled quantized graph.
        windows: float inputs of each window in torch's layout, batch in front; the first holds the initial caches too.
        feedback: for each cache, the output that is its value in the next window.
    """
    meter = _Meter(graph)
    steps = _tensors(windows)
    batch = len(next(iter(steps[0].values())))
    if batch == 1 or meter.takes_batches(steps[0]):
        meter.stream(steps, feedback)
    else:
        for row in _rows(steps):
            meter.stream(row, feedback, join=False)
    return meter.figures()


def _tensors(windows: Sequence[Mapping[str, Array]]) -> list[dict[str, Tensor]]:
    return [{n: torch.from_numpy(np.ascontiguousarray(v)) for n, v in window.items()} for window in windows]


def _rows(steps: Sequence[Mapping[str, Tensor]]) -> list[list[dict[str, Tensor]]]:
    """The same windows, one recording at a time."""
    count = len(next(iter(steps[0].values())))
    return [[{n: v[row : row + 1] for n, v in step.items()} for step in steps] for row in range(count)]


def measure_effects(
    graph: bytes,
    windows: Sequence[Mapping[str, Array]],
    feedback: Mapping[str, str],
    groups: Mapping[str, Sequence[str]],
) -> dict[str, float]:
    """Quantize one group of operators at a time and measure the noise at the outputs.

    Args:
        graph: a pickled quantized graph.
        windows: as for `measure_noise`.
        feedback: as for `measure_noise`.
        groups: names of operators by group.

    Returns:
        For each group the power of the noise as a share of that of the signal.
    """
    steps = _tensors(windows)
    floating = without_quantization(load_graph(graph))
    operations = floating.operations
    executor = TorchExecutor(graph=floating, device="cpu")
    outputs = [name for name in floating.outputs if name not in set(feedback.values())]
    # A Reshape to a constant shape, behind a recurrent layer say, runs one recording at a time.
    runs = [steps] if takes_batches(executor, steps[0]) else _rows(steps)
    reference = _outputs(executor, runs, feedback, outputs)
    shares = {}
    for group, names in groups.items():
        for name in names:
            switch_on(operations[name])
        found = _outputs(executor, runs, feedback, outputs)
        for name in names:
            switch_off(operations[name])
        shares[group] = _power(found - reference) / max(_power(reference), 1e-30)
    return shares


def _outputs(
    executor: TorchExecutor,
    runs: Sequence[Sequence[Mapping[str, Tensor]]],
    feedback: Mapping[str, str],
    outputs: Sequence[str],
) -> Tensor:
    parts: list[Tensor] = []

    def keep(values: Mapping[str, Tensor]) -> None:
        parts.extend(values[name].flatten() for name in outputs)

    for steps in runs:
        _follow(executor, steps, feedback, keep, outputs)
    return torch.cat(parts)


def _follow(
    executor: TorchExecutor,
    steps: Sequence[Mapping[str, Tensor]],
    feedback: Mapping[str, str],
    keep: Callable[[Mapping[str, Tensor]], None] = lambda values: None,
    outputs: Sequence[str] = (),
) -> list[dict[str, Tensor]]:
    """Run windows in closed loop, and return what each one met: inputs and caches."""
    met, caches, wanted = [], dict[str, Tensor](), [*outputs, *feedback.values()]
    for step in steps:
        met.append({**step, **caches})
        if wanted:
            values = dict(zip(wanted, executor.forward(dict(met[-1]), output_names=wanted), strict=True))
            keep(values)
            caches = {cache: values[new].float() for cache, new in feedback.items()}
    return met


class _Meter:
    """Adds up signal and noise over windows."""

    def __init__(self, graph: bytes) -> None:
        self.graph = load_graph(graph)
        self._quantized = TorchExecutor(graph=self.graph, device="cpu")
        self._floating = TorchExecutor(graph=without_quantization(load_graph(graph)), device="cpu")
        self._order = [op for op in self._quantized._executing_order if isinstance(op, QuantableOperation)]
        self._computed = [variable.name for op in self._order for variable in op.outputs]
        self._sums: dict[str, list[float]] = {op.name: [0.0, 0.0, 0.0] for op in self._order}
        self._uses: dict[str, list[float]] = defaultdict(lambda: [0, 0, 0.0])
        self._configs = dict(_grids(self.graph, self._order))

    def takes_batches(self, sample: Mapping[str, Tensor]) -> bool:
        """Tell whether both graphs compute a batch as they compute its rows."""
        return takes_batches(self._floating, sample) and takes_batches(self._quantized, sample)

    def stream(self, steps: Sequence[Mapping[str, Tensor]], feedback: Mapping[str, str], join: bool = True) -> None:
        """Stream windows through both graphs in closed loop, then compare their operators, all windows as one batch."""
        exact = _follow(self._floating, steps, feedback)
        rounded = _follow(self._quantized, steps, feedback)
        if join:
            exact, rounded = ([{n: torch.cat([row[n] for row in rows]) for n in rows[0]}] for rows in (exact, rounded))
        for true, real in zip(exact, rounded, strict=True):
            self._compare(true, real)

    def _compare(self, exact: Mapping[str, Tensor], rounded: Mapping[str, Tensor]) -> None:
        wanted = self._computed
        true = dict(zip(wanted, self._floating.forward(dict(exact), output_names=wanted), strict=True))
        taps = {op.name: _Tap(op) for op in self._order}
        self._quantized.forward(dict(rounded), wanted, taps)
        locked = {op.name: _Tap(op, self._quantized, {**exact, **true}) for op in self._order}
        self._quantized.forward(dict(rounded), wanted, locked)
        for operation in self._order:
            self._add(operation, true, taps[operation.name], locked[operation.name])
        self._use({**rounded, **{name: value for tap in taps.values() for name, value in tap.raw.items()}})

    def figures(self) -> NoiseFigures:
        """Return the figures so far."""
        operators = tuple(
            OperatorNoise(op.name, op.type, op.output_quant_config[0].num_of_bits, *self._sums[op.name])
            for op in self._order
        )
        tensors = tuple(
            TensorUse(name, config.num_of_bits, _exponent(config), int(count), int(clipped), peak)
            for name, config in self._configs.items()
            for count, clipped, peak in [self._uses[name]]
        )
        return NoiseFigures(operators, tensors)

    def _add(self, operation: Operation, true: Mapping[str, Tensor], real: _Tap, locked: _Tap) -> None:
        sums = self._sums[operation.name]
        for variable in operation.outputs:
            value = true[variable.name]
            if value is not None and value.dtype.is_floating_point:
                sums[0] += _power(value)
                sums[1] += _power(locked.rounded[variable.name] - value)
                sums[2] += _power(real.rounded[variable.name] - value)

    def _use(self, values: Mapping[str, Tensor]) -> None:
        for name, config in self._configs.items():
            integers = values[name].double() / float(config.dominated_by.scale)
            use = self._uses[name]
            low, high = config.dominated_by.quant_min, config.dominated_by.quant_max
            use[0] += integers.numel()
            use[1] += int(((integers < low - 0.5) | (integers >= high + 0.5)).sum())
            use[2] = max(use[2], float(integers.abs().max()) / high)


class _Tap(QuantOPRuntimeHook):  # type: ignore[misc]
    """Keeps what an operator puts out, before and after rounding; given exact values, it computes from these."""

    def __init__(
        self, operation: Operation, executor: TorchExecutor | None = None, exact: Mapping[str, Tensor] | None = None
    ) -> None:
        super().__init__(operation)
        self._operation, self._executor, self._exact = operation, executor, exact
        self.raw: dict[str, Tensor] = {}
        self.rounded: dict[str, Tensor] = {}

    def pre_forward_hook(self, inputs: list[Any], quant_inputs: list[Any], quant_configs: list[Any]) -> list[Any]:
        """Put the exact inputs in the place of the rounded ones."""
        if self._exact is None or self._executor is None:
            return quant_inputs
        replaced = list(quant_inputs)
        for index, (variable, config) in enumerate(zip(self._operation.inputs, quant_configs, strict=False)):
            if variable.name in self._exact and quant_inputs[index] is not None:
                value = self._executor.quantize_function(self._exact[variable.name], config)
                replaced[index] = value.to(quant_inputs[index].dtype)
        return replaced

    def post_forward_hook(self, outputs: list[Any], quant_outputs: list[Any], quant_configs: list[Any]) -> list[Any]:
        """Keep the outputs."""
        for variable, before, after in zip(self._operation.outputs, outputs, quant_outputs, strict=False):
            self.raw[variable.name], self.rounded[variable.name] = before, after
        return quant_outputs


def _grids(graph: BaseGraph, order: Sequence[Operation]) -> Iterator[tuple[str, TensorQuantizationConfig]]:
    """The tensors that lie on a grid of their own: graph inputs, then whatever is rounded when it is written."""
    for name, variable in graph.inputs.items():
        for reader in variable.dest_ops:
            if isinstance(reader, QuantableOperation):
                config = reader.input_quant_config[reader.inputs.index(variable)]
                if config.state in _ACTIVE and config.scale is not None:
                    yield name, config
    for operation in order:
        for variable, config in zip(operation.outputs, operation.output_quant_config, strict=False):
            if config.state in _ACTIVE and config.scale is not None:
                yield variable.name, config


def _exponent(config: TensorQuantizationConfig) -> int:
    return round(math.log2(float(config.dominated_by.scale)))


def _power(values: Tensor) -> float:
    return float(values.double().square().sum())
