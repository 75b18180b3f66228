"""A recording without end through the integers: frames come in pieces, and memory holds one piece."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from lightning_esp.conversion import Port
from lightning_esp.quantization import QuantizedModel
from lightning_esp.simulation.integer_windows import join_windows, split_stack, stack_windows
from lightning_esp.simulation.recorder import IntegerRecorder, RecorderState


class ContinuousRun:
    """Runs a model of one stream of frames over pieces of a recording; its outputs in a row are those of the whole.

    Args:
        quantized: the model.

    Raises:
        EspdlOperatorError: an operator is unknown, or ESP-DL computes it wrongly.
    """

    def __init__(self, quantized: QuantizedModel) -> None:
        self._quantized = quantized
        self._recorder = IntegerRecorder(quantized)
        self._state: RecorderState | None = None
        self._pending: Tensor | None = None
        self._windows = self._frames = 0
        self._skip, self._made = quantized.spec.output_delay(self.output), 0

    @property
    def output(self) -> Port:
        """The output that is returned: the first."""
        return self._quantized.spec.outputs[0]

    @property
    def output_values(self) -> int:
        """Values of a frame of this output."""
        return prod(size for axis, size in enumerate(self.output.shape[1:], 1) if axis != self.output.time_axis)

    def push(self, frames: Tensor) -> Tensor:
        """Take the next frames.

        Args:
            frames: `[1, ...]` in torch's layout, any number of them.

        Returns:
            The output frames that they complete, `[1, ...]` without those of the delay; perhaps none.
        """
        self._frames += frames.shape[self._axis]
        joined = frames if self._pending is None else torch.cat([self._pending, frames], self._axis)
        whole = joined.shape[self._axis] // self._quantized.spec.window * self._quantized.spec.window
        self._pending = joined.narrow(self._axis, whole, joined.shape[self._axis] - whole).clone()
        return self._run(joined.narrow(self._axis, 0, whole))

    def finish(self) -> Tensor:
        """Fill up the last window and flush the delay with zero frames; return the output frames that were missing."""
        assert self._pending is not None, "push comes before finish"
        spec = self._quantized.spec
        missing = (spec.windows(self._frames) - self._windows) * spec.window - self._pending.shape[self._axis]
        shape = list(self._pending.shape)
        shape[self._axis] = missing
        last = self._run(torch.cat([self._pending, torch.zeros(shape)], self._axis))
        surplus = max(0, self._made - spec.output_frames(self.output, self._frames))
        assert self.output.time_axis is not None
        return last.narrow(self.output.time_axis, 0, last.shape[self.output.time_axis] - surplus)

    @property
    def _axis(self) -> int:
        axis = self._quantized.spec.inputs[0].time_axis
        assert axis is not None
        return axis

    def _run(self, frames: Tensor) -> Tensor:
        count = frames.shape[self._axis] // self._quantized.spec.window
        results = []
        if count:
            # Without the delay: what comes next flushes it.
            stack = stack_windows(self._quantized, {self._quantized.spec.inputs[0].name: frames}, count)
            outputs, self._state = self._recorder.run_on(stack, self._state)
            results = split_stack(outputs)
        self._windows += count
        output = join_windows(self._quantized, results, 1)[self.output.name]
        assert self.output.time_axis is not None
        size = output.shape[self.output.time_axis]
        skipped = min(self._skip, size)
        self._skip -= skipped
        self._made += size - skipped
        return output.narrow(self.output.time_axis, skipped, size - skipped)
