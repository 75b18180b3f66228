"""The files of a model over whole recordings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lightning_esp.espdl.interpreter import EspdlInterpreter
from lightning_esp.espdl.reader import read_espdl
from lightning_esp.espdl.recording import EspdlRecorder
from lightning_esp.integers.pipeline import interpret
from lightning_esp.integers.windows import split_stack
from lightning_esp.quantization.job import Array
from lightning_esp.quantization.model import QuantizedModel


class IntegerRecorder:
    """The files of a model over whole recordings: all windows of a stage at once where its caches allow it.

    The integers are those of `interpret`, window by window, at many times its speed.

    Args:
        quantized: the model; only the bytes of its files are used.

    Raises:
        EspdlOperatorError: an operator is unknown, or ESP-DL computes it wrongly.
    """

    def __init__(self, quantized: QuantizedModel) -> None:
        self._files = quantized.stages
        self._initial = interpret(quantized).initial_state
        self._recorders = [
            EspdlRecorder(
                EspdlInterpreter(read_espdl(stage.data), quantized.target),
                {cache.tensor.name: cache.next for cache in stage.caches},
            )
            for stage in quantized.stages
        ]

    def run_stack(self, stack: Mapping[str, Array]) -> dict[str, Array]:
        """Run consecutive windows from the initial state.

        Args:
            stack: `[batch, windows, ...]` by input name, integers in the layout of the files.

        Returns:
            The outputs of every stage by name, `[batch, windows, ...]`.
        """
        values = dict(stack)
        state = self._initial(len(next(iter(values.values()))))
        outputs: dict[str, Array] = {}
        for file, recorder in zip(self._files, self._recorders, strict=True):
            caches = {cache.tensor.name: state[cache.tensor.name] for cache in file.caches}
            found = recorder.run({tensor.name: values[tensor.name] for tensor in file.inputs}, caches).outputs
            values |= found
            outputs |= found
        return outputs

    def run(self, windows: Sequence[Mapping[str, Array]]) -> list[dict[str, Array]]:
        """Run consecutive windows from the initial state, each `[batch, ...]` by name."""
        return split_stack(
            self.run_stack({name: np.stack([window[name] for window in windows], axis=1) for name in windows[0]})
        )
