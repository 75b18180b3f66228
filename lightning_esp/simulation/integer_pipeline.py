"""The stages of a quantized model, stepped one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lightning_esp.espdl import EspdlInterpreter, IntegerStream, read_espdl
from lightning_esp.quantization import Array, QuantizedModel, StageFile


class IntegerPipeline:
    """The stages of a model, run one after the other, with every explicit cache fed back.

    It is an `IntegerStream` over the model's inputs: its state holds the caches, and what the stages themselves remember.

    Args:
        files: the stages.
        streams: for each stage, what computes it.
    """

    def __init__(self, files: Sequence[StageFile], streams: Sequence[IntegerStream]) -> None:
        self.files = tuple(files)
        self.streams = tuple(streams)

    def initial_state(self, batch: int) -> dict[str, Array]:
        """The state before the first window of `batch` recordings."""
        state: dict[str, Array] = {}
        for file, stream in zip(self.files, self.streams, strict=True):
            state |= {f"{file.name}:{name}": value for name, value in stream.initial_state(batch).items()}
            for cache in file.caches:
                shape = (batch, *cache.tensor.shape[1:])
                state[cache.tensor.name] = np.full(shape, cache.initial, dtype=cache.tensor.dtype)
        return state

    def step(
        self, inputs: Mapping[str, Array], state: Mapping[str, Array]
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Run one window through all stages.

        Returns:
            Every stage output and new cache value by name, and the state for the next window.
        """
        values, after = dict(inputs), dict(state)
        for index in range(len(self.files)):
            outputs, changed = self.run_stage(index, values, state)
            values |= outputs
            after |= changed
        return {name: value for name, value in values.items() if name not in inputs}, after

    def run_stage(
        self, index: int, values: Mapping[str, Array], state: Mapping[str, Array]
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Run one stage on one window.

        Args:
            index: which stage.
            values: at least what the stage reads: model inputs, outputs of earlier stages.
            state: as for `step`.

        Returns:
            The stage's outputs and new cache values by name, and its part of the state for the next window.
        """
        file = self.files[index]
        outputs, own = self.streams[index].step(*self.stage_arguments(index, values, state))
        after = {f"{file.name}:{name}": value for name, value in own.items()}
        after |= {cache: outputs[new] for cache, new in file.feedback.items()}
        return outputs, after

    def stage_arguments(
        self, index: int, values: Mapping[str, Array], state: Mapping[str, Array]
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Return the arguments of one stage: its inputs and explicit caches, and its own state."""
        file = self.files[index]
        prefix = f"{file.name}:"
        own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        arguments = {tensor.name: values[tensor.name] for tensor in file.inputs}
        return arguments | {cache: state[cache] for cache in file.feedback}, own

    def run(self, windows: Sequence[Mapping[str, Array]]) -> list[dict[str, Array]]:
        """Run consecutive windows from the initial state."""
        state = self.initial_state(len(next(iter(windows[0].values()))))
        results = []
        for window in windows:
            outputs, state = self.step(window, state)
            results.append(outputs)
        return results


def interpret(quantized: QuantizedModel, *, check_accumulators: bool = False) -> IntegerPipeline:
    """The files of a model, computed as ESP-DL's plain-C kernels do.

    Args:
        quantized: the model; only the bytes of its files are used.
        check_accumulators: raise where an accumulator would leave the chip's width (slow).

    Raises:
        EspdlOperatorError: an operator is unknown, or ESP-DL computes it wrongly.
    """
    files = [read_espdl(stage.data) for stage in quantized.stages]
    streams = [EspdlInterpreter(file, quantized.target, check_accumulators) for file in files]
    return IntegerPipeline(quantized.stages, streams)
