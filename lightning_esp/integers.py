"""A quantized model as a Python object: stages in closed loop, integers inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from lightning_esp.espdl.interpreter import EspdlInterpreter
from lightning_esp.espdl.reader import read_espdl
from lightning_esp.espdl.recording import EspdlRecorder
from lightning_esp.espdl.stream import IntegerStream
from lightning_esp.quantization.job import Array
from lightning_esp.quantization.model import QuantizedModel, StageFile
from lightning_esp.quantization.values import dequantize_values, quantize_values
from lightning_esp.streaming.model import Values, count_frames, join_windows, slice_windows


class Runner(Protocol):
    """Whatever computes consecutive windows, for a batch of recordings, from their initial state."""

    def run(self, windows: Sequence[Mapping[str, Array]]) -> list[dict[str, Array]]:
        """Map the inputs of each window, integers in the layout of the files, to its outputs by name."""


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
        values, after = dict(inputs), dict[str, Array]()
        for file, stream in zip(self.files, self.streams, strict=True):
            prefix = f"{file.name}:"
            own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
            arguments = {tensor.name: values[tensor.name] for tensor in file.inputs}
            arguments |= {cache.tensor.name: state[cache.tensor.name] for cache in file.caches}
            outputs, own = stream.step(arguments, own)
            values |= outputs
            after |= {prefix + name: value for name, value in own.items()}
            after |= {cache.tensor.name: outputs[cache.next] for cache in file.caches}
        return {name: value for name, value in values.items() if name not in inputs}, after

    def run(self, windows: Sequence[Mapping[str, Array]]) -> list[dict[str, Array]]:
        """Run consecutive windows from the initial state."""
        state = self.initial_state(len(next(iter(windows[0].values()))))
        results = []
        for window in windows:
            outputs, state = self.step(window, state)
            results.append(outputs)
        return results


def integer_windows(quantized: QuantizedModel, inputs: Values) -> list[dict[str, Array]]:
    """Quantize a batch of recordings and cut it into windows in the layout of the files.

    Args:
        quantized: the model.
        inputs: `[batch, ...]` in torch's layout, by input name.
    """
    tensors = {tensor.name: tensor for stage in quantized.stages for tensor in stage.inputs}
    windows = slice_windows(quantized.spec, inputs)
    return [
        {name: quantize_values(value.numpy(), tensors[name], quantized.target) for name, value in window.items()}
        for window in windows
    ]


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

    def run(self, windows: Sequence[Mapping[str, Array]]) -> list[dict[str, Array]]:
        """Run consecutive windows from the initial state.

        Returns:
            The outputs of every stage by name, for each window.
        """
        values = {name: np.stack([window[name] for window in windows], axis=1) for name in windows[0]}
        state = self._initial(len(next(iter(values.values()))))
        outputs: dict[str, Array] = {}
        for file, recorder in zip(self._files, self._recorders, strict=True):
            caches = {cache.tensor.name: state[cache.tensor.name] for cache in file.caches}
            found = recorder.run({tensor.name: values[tensor.name] for tensor in file.inputs}, caches).outputs
            values |= found
            outputs |= found
        return [{name: value[:, index] for name, value in outputs.items()} for index in range(len(windows))]


class QuantizedStreaming(nn.Module):
    """The nn.Module face of an integer stream: takes what the exported module takes, in float, and returns its output.

    Args:
        quantized: the model.
        runner: what computes consecutive windows from the initial state, such as an `IntegerPipeline` or esp-ppq's
            `ExecutorStream`; None for the files themselves.
    """

    def __init__(self, quantized: QuantizedModel, runner: Runner | None = None) -> None:
        super().__init__()
        self.quantized = quantized
        self.runner: Runner = IntegerRecorder(quantized) if runner is None else runner

    @torch.no_grad()
    def forward(self, *arguments: Tensor, **named: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Stream whole recordings from the initial state.

        Args:
            arguments: `[batch, ...]` per input, as `forward` of the exported module takes them.
            named: the same by name.

        Returns:
            The dequantized output in the offline shape, on the device of the input.
        """
        spec = self.quantized.spec
        given = dict(zip((port.name for port in spec.inputs), arguments, strict=False)) | named
        device = next(iter(given.values())).device
        inputs = {name: value.detach().float().cpu() for name, value in given.items()}
        results = [self._dequantize(outputs) for outputs in self.runner.run(integer_windows(self.quantized, inputs))]
        joined = join_windows(spec, results, count_frames(spec, inputs))
        found = tuple(joined[port.name].to(device) for port in spec.outputs)
        return found[0] if len(found) == 1 else found

    def _dequantize(self, outputs: Mapping[str, Array]) -> Values:
        tensors = {tensor.name: tensor for stage in self.quantized.stages for tensor in stage.outputs}
        names = [port.name for port in self.quantized.spec.outputs]
        return {name: torch.from_numpy(dequantize_values(outputs[name], tensors[name])) for name in names}
