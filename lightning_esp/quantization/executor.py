"""esp-ppq's executor as an `IntegerStream`: the first of the two parties of every integer proof."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from lightning_esp.quantization.job import Array
from lightning_esp.quantization.process import Worker
from lightning_esp.quantization.quantized_model import QuantizedModel
from lightning_esp.quantization.values import dequantize_values, quantize_start, regrid


class ExecutorStream:
    """The uncut, explicit graph of a quantized model, stepped by esp-ppq in the worker.

    Its inputs are the model's, its outputs those of every stage and the new value of every cache; its state holds all
    caches, those that became native in the files included.

    Args:
        quantized: the model.
        worker: a running worker.
    """

    def __init__(self, quantized: QuantizedModel, worker: Worker) -> None:
        self._quantized = quantized
        self._worker = worker
        written, self._caches, self._next = quantized.outputs, quantized.caches, quantized.spec.feedback
        self._inputs = {n: tensor for n, tensor in quantized.inputs.items() if n not in written} | self._caches
        after = {new: replace(self._caches[cache], name=new) for cache, new in self._next.items()}
        self._outputs = written | after

    def initial_state(self, batch: int) -> dict[str, Array]:
        """The caches at the start of a recording, `[batch, ...]` in the layout of the file."""
        initial = {cache.name: cache.initial for cache in self._quantized.spec.caches}
        state = {}
        for name, tensor in self._caches.items():
            value = quantize_start(initial[name], tensor)
            state[name] = np.full((batch, *tensor.shape[1:]), value, dtype=tensor.dtype)
        return state

    def step(
        self, inputs: Mapping[str, Array], state: Mapping[str, Array]
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Run one window; see `IntegerStream.step`."""
        outputs = self._run([{**inputs, **state}])[0]
        return outputs, {cache: outputs[new] for cache, new in self._next.items()}

    def run(self, windows: Sequence[Mapping[str, Array]]) -> list[dict[str, Array]]:
        """Run consecutive windows from the initial state in one call; the caches never leave the worker."""
        state = self.initial_state(len(next(iter(windows[0].values()))))
        return self._run([{**windows[0], **state}, *windows[1:]])

    def _run(self, windows: Sequence[Mapping[str, Array]]) -> list[dict[str, Array]]:
        real = [{n: dequantize_values(value, self._inputs[n]) for n, value in window.items()} for window in windows]
        results = self._worker.call("run", self._quantized.graph, list(self._outputs), real, self._next)
        return [{n: regrid(value, self._outputs[n]) for n, value in result.items()} for result in results]
