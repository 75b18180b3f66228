"""The files of a model over whole recordings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from lightning_esp.espdl import EspdlInterpreter, EspdlRecorder, read_espdl
from lightning_esp.quantization import Array, QuantizedModel
from lightning_esp.simulation.integer_pipeline import interpret
from lightning_esp.simulation.integer_windows import split_stack

# What each stage remembers from one piece of a recording to the next: its explicit caches, and its native ones.
RecorderState: TypeAlias = "list[tuple[dict[str, Array], dict[str, Array] | None]]"


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
                stage.feedback,
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
        return self.run_on(stack, None)[0]

    def run_on(self, stack: Mapping[str, Array], state: RecorderState | None) -> tuple[dict[str, Array], RecorderState]:
        """Run consecutive windows from where the windows before them ended.

        Args:
            stack: as for `run_stack`.
            state: what this returned for the windows before; None at the start of the recordings.

        Returns:
            The outputs of every stage as `run_stack` returns them, and the state behind the last window.
        """
        values = dict(stack)
        state = self._start(len(next(iter(values.values())))) if state is None else state
        outputs: dict[str, Array] = {}
        after: RecorderState = []
        for file, recorder, (caches, own) in zip(self._files, self._recorders, state, strict=True):
            found = recorder.run({tensor.name: values[tensor.name] for tensor in file.inputs}, caches, own)
            values |= found.outputs
            outputs |= found.outputs
            after.append((found.caches, found.state))
        return outputs, after

    def _start(self, batch: int) -> RecorderState:
        state = self._initial(batch)
        return [({cache: state[cache] for cache in file.feedback}, None) for file in self._files]

    def run(self, windows: Sequence[Mapping[str, Array]]) -> list[dict[str, Array]]:
        """Run consecutive windows from the initial state, each `[batch, ...]` by name."""
        return split_stack(
            self.run_stack({name: np.stack([window[name] for window in windows], axis=1) for name in windows[0]})
        )
