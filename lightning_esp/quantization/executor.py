"""esp-ppq's executor as an `IntegerStream`: the first of the two parties of every integer proof."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

from lightning_esp.quantization.job import Array
from lightning_esp.quantization.model import QuantizedModel, StageFile, TensorInfo
from lightning_esp.quantization.process import Worker
from lightning_esp.quantization.values import dequantize_values, regrid


class ExecutorStream:
    """One quantized graph of esp-ppq, stepped in the worker. Explicit caches are ordinary inputs and outputs.

    Args:
        worker: a running worker.
        graph: the serialized graph.
        inputs: its inputs, caches included.
        outputs: its outputs, new cache values included.
    """

    def __init__(
        self, worker: Worker, graph: bytes, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo]
    ) -> None:
        self._worker = worker
        self._graph = graph
        self._inputs = {tensor.name: tensor for tensor in inputs}
        self._outputs = {tensor.name: tensor for tensor in outputs}

    def initial_state(self, batch: int) -> dict[str, Array]:
        """An executor remembers nothing between steps."""
        return {}

    def step(
        self, inputs: Mapping[str, Array], state: Mapping[str, Array]
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Run one window; see `IntegerStream.step`."""
        return self.run([inputs], {})[0], {}

    def run(self, windows: Sequence[Mapping[str, Array]], feedback: Mapping[str, str]) -> list[dict[str, Array]]:
        """Run consecutive windows in one call, caches fed back inside the worker.

        Args:
            windows: inputs of each window; the first holds the initial caches as well.
            feedback: for each cache, the output with its new value.
        """
        real = [
            {name: dequantize_values(value, self._inputs[name]) for name, value in window.items()} for window in windows
        ]
        results = self._worker.call("run", self._graph, list(self._outputs), real, dict(feedback))
        return [{name: regrid(value, self._outputs[name]) for name, value in r.items()} for r in results]


def renamed(tensor: TensorInfo, name: str) -> TensorInfo:
    """The same tensor under another name."""
    return TensorInfo(name, tensor.shape, tensor.dtype, tensor.exponent, tensor.layout, tensor.time_axis)


def _ports(stage: StageFile) -> tuple[list[TensorInfo], list[TensorInfo]]:
    inputs = [*stage.inputs, *(cache.tensor for cache in stage.caches)]
    outputs = [*stage.outputs, *(renamed(cache.tensor, cache.next) for cache in stage.caches)]
    return inputs, outputs


def stage_executors(worker: Worker, quantized: QuantizedModel) -> tuple[ExecutorStream, ...]:
    """An executor per stage."""
    pairs = zip(quantized.stages, quantized.stage_graphs, strict=True)
    return tuple(ExecutorStream(worker, graph, *_ports(stage)) for stage, graph in pairs)


def whole_executor(worker: Worker, quantized: QuantizedModel) -> ExecutorStream:
    """One executor of the uncut model, whose outputs are those of all stages."""
    ports = [_ports(stage) for stage in quantized.stages]
    inputs = {tensor.name: tensor for tensor in chain.from_iterable(inputs for inputs, _ in ports)}
    outputs = {tensor.name: tensor for tensor in chain.from_iterable(outputs for _, outputs in ports)}
    outside = [tensor for name, tensor in inputs.items() if name not in outputs]
    return ExecutorStream(worker, quantized.graph, outside, list(outputs.values()))
