"""`QuantizedStreaming`: integers behind an nn.Module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from lightning_esp.conversion import Clip, count_frames
from lightning_esp.errors import DataError
from lightning_esp.quantization import Array, QuantizedModel
from lightning_esp.simulation.integer_windows import join_stack, split_stack, stack_windows
from lightning_esp.simulation.recorder import IntegerRecorder


class Runner(Protocol):
    """Runner of consecutive windows, for a batch of recordings, from their initial state."""

    def run(self, windows: Sequence[Mapping[str, Array]]) -> list[dict[str, Array]]:
        """Map the inputs of each window, integers in the layout of the files, to its outputs by name."""


class QuantizedStreaming(nn.Module):
    """The nn.Module face of an integer stream: takes what the exported module takes, in float, and returns its output.

    It holds neither parameters nor buffers, only numpy arrays and bytes, so a deep copy of a LightningModule with this in
    place of its network runs in `trainer.validate` and `trainer.test` with any strategy; it computes on the CPU.

    Args:
        quantized: the model.
        runner: what computes consecutive windows from the initial state, such as an `IntegerPipeline` or esp-ppq's
            `ExecutorStream`; None for the files themselves, whole recordings at once.
        structured: return what the exported module does, dicts and all, and of a model that decides on clips one decision for
            each recording, on its last clip; False: a tensor, or a tuple of several, with an axis of time.
    """

    def __init__(self, quantized: QuantizedModel, runner: Runner | None = None, *, structured: bool = False) -> None:
        super().__init__()
        self.structured = structured
        self.quantized = quantized
        self.runner: Runner = IntegerRecorder(quantized) if runner is None else runner

    @torch.no_grad()
    def forward(self, *arguments: Tensor, **named: Tensor) -> Any:
        """Stream whole recordings from the initial state.

        Args:
            arguments: `[batch, ...]` per input, as `forward` of the exported module takes them.
            named: the same by name.

        Returns:
            The dequantized output in the offline shape, on the device of the input. Where it is structured, what is not kept
            raises a `ConversionError` when it is used.

        Raises:
            DataError: structured, and the recordings are shorter than the clips that the model decides on.
        """
        spec = self.quantized.spec
        given = dict(zip((port.name for port in spec.inputs), arguments, strict=False)) | named
        device = next(iter(given.values())).device
        inputs = {name: value.detach().float().cpu() for name, value in given.items()}
        outputs = self._run(stack_windows(self.quantized, inputs))
        joined = join_stack(self.quantized, outputs, count_frames(spec, inputs))
        found = tuple(joined[port.name].to(device) for port in spec.outputs)
        if self.structured and spec.clip is not None:
            found = tuple(_decide(value, spec.clip) for value in found)
        if self.structured and spec.structure is not None:
            return spec.structure.fill(found)
        return found[0] if len(found) == 1 else found

    def _run(self, stack: Mapping[str, Array]) -> dict[str, Array]:
        if isinstance(self.runner, IntegerRecorder):
            return self.runner.run_stack(stack)
        results = self.runner.run(split_stack(stack))
        names = [port.name for port in self.quantized.spec.outputs]
        return {name: np.stack([result[name] for result in results], axis=1) for name in names}


def _decide(decisions: Tensor, clip: Clip) -> Tensor:
    """The decision on the last clip of each recording."""
    if decisions.shape[-1] == 0:
        raise DataError(
            f"a recording is shorter than the {clip.frames} frames that the model decides on; give clips of that length, or "
            "export with a shorter Streaming(clip=...)."
        )
    return decisions[..., -1]
