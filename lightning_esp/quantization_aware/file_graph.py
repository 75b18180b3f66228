"""The operators of one `.espdl` file over whole recordings, in torch.

As in `espdl.EspdlRecorder`, all windows are computed as one batch where the caches are shift registers or recurrent states:
what a cache holds at a window is known from the frames before it, and only recurrent layers walk through time. Any other
form of state is stepped window by window.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lightning_esp.espdl import EspdlInterpreter, Instruction, Register, Unrolling, positive_axis, unroll
from lightning_esp.quantization_aware.kernels import Kernel, build

Values = dict[str, Tensor]


class FileGraph:
    """One file, prepared.

    Args:
        interpreter: the file.
        feedback: for each explicit cache, the output with its next value.

    Raises:
        EspdlOperatorError: training has no form of an operator.
    """

    def __init__(self, interpreter: EspdlInterpreter, feedback: Mapping[str, str]) -> None:
        self.interpreter = interpreter
        self.feedback = dict(feedback)
        found = unroll(interpreter, feedback)
        self.unrolling = found if isinstance(found, Unrolling) else None
        self.kernels: list[Kernel | None] = [
            None if item.cache is not None else build(item.node) for item in interpreter.instructions
        ]

    def run(
        self, windows: Mapping[str, Tensor], caches: Mapping[str, Tensor], parameters: Mapping[str, Tensor]
    ) -> Values:
        """Run all windows of recordings.

        Args:
            windows: `[batch, windows, *shape in the file]` by input name, whole numbers.
            caches: explicit caches before the first window, `[batch, *shape in the file]`.
            parameters: `[1, *shape in the file]` by tensor name, whole numbers.

        Returns:
            `[batch, windows, *shape in the file]` of each output that is not a cache.
        """
        if self.unrolling is not None:
            return _Run(self, self.unrolling, windows, caches, parameters).run()
        count = next(iter(windows.values())).shape[1]
        native: Values = {}
        steps: list[Values] = []
        held = dict(caches)
        for index in range(count):
            step = {name: values[:, index] for name, values in windows.items()} | held
            found, native = self._step(step, native, parameters)
            held = {cache: found.pop(source) for cache, source in self.feedback.items()}
            steps.append(found)
        return {name: torch.stack([step[name] for step in steps], 1) for name in steps[0]}

    def _step(self, inputs: Values, native: Values, parameters: Mapping[str, Tensor]) -> tuple[Values, Values]:
        values = {**parameters, **inputs}
        after: Values = {}
        for item, kernel in zip(self.interpreter.instructions, self.kernels, strict=True):
            operator = item.node.operator
            if item.cache is not None:
                frames = values[operator.inputs[0]]
                before = native.get(item.cache.key)
                before = frames.new_zeros((len(frames), *item.cache.shape)) if before is None else before
                joined = torch.cat([before, frames], item.cache.axis)
                values[operator.outputs[0]] = joined
                size = before.shape[item.cache.axis]
                after[item.cache.key] = joined.narrow(item.cache.axis, joined.shape[item.cache.axis] - size, size)
            else:
                assert kernel is not None
                values |= compute(item, kernel, values)
        return {name: values[name] for name in self.interpreter.model.outputs}, after


def compute(item: Instruction, kernel: Kernel, values: Mapping[str, Tensor]) -> Values:
    """Run one operator; return its outputs by name."""
    like = next(iter(values.values()))
    absent = like.new_zeros((1, 0))
    results = kernel([values[name] if name else absent for name in item.node.operator.inputs])
    return {name: result for name, result in zip(item.node.operator.outputs, results, strict=False) if name}


class _Run:
    """All windows of a batch of recordings, as one large batch."""

    def __init__(
        self,
        graph: FileGraph,
        unrolling: Unrolling,
        windows: Mapping[str, Tensor],
        caches: Mapping[str, Tensor],
        parameters: Mapping[str, Tensor],
    ) -> None:
        self.graph, self.unrolling, self.caches = graph, unrolling, caches
        first = next(iter(windows.values()))
        self.batch, self.count = first.shape[:2]
        self.values: Values = {**parameters, **{name: value.flatten(0, 1) for name, value in windows.items()}}

    def run(self) -> Values:
        """Return the outputs."""
        instructions = self.graph.interpreter.instructions
        for position, (item, kernel) in enumerate(zip(instructions, self.graph.kernels, strict=True)):
            registers = self.unrolling.at(position)
            if position in self.unrolling.skipped:
                continue
            operator = item.node.operator
            if item.cache is not None:
                frames = self.values[operator.inputs[0]]
                before = frames.new_zeros((self.batch, *item.cache.shape))
                self.values[operator.outputs[0]] = self._shift(frames, before, item.cache.axis)
            elif registers:
                self._remember(item, kernel, registers)
            else:
                assert kernel is not None
                self.values |= compute(item, kernel, self.values)
            for name in item.released:
                self.values.pop(name, None)
        following = set(self.graph.feedback.values())
        outside = [name for name in self.graph.interpreter.model.outputs if name not in following]
        return {name: self._unstack(self.values[name]) for name in outside}

    def _unstack(self, values: Tensor) -> Tensor:
        return values.reshape(self.batch, self.count, *values.shape[1:])

    def _enter(self, register: Register) -> Tensor:
        """Carry a cache to the operator that reads it."""
        value = self.caches[register.cache]
        for position in register.entering:
            kernel = self.graph.kernels[position]
            item = self.graph.interpreter.instructions[position]
            assert kernel is not None
            value = compute(item, kernel, {**self.values, item.node.operator.inputs[0]: value})[
                item.node.operator.outputs[0]
            ]
        return value

    def _remember(self, item: Instruction, kernel: Kernel | None, registers: Sequence[Register]) -> None:
        entering = [self._enter(register) for register in registers]
        operator = item.node.operator
        if operator.type == "Concat":
            axis = positive_axis(int(item.node.attribute("axis", 0)), len(item.node.input(0).shape))
            self.values[operator.outputs[0]] = self._shift(self.values[operator.inputs[1]], entering[0], axis)
            return
        assert kernel is not None
        like = self.values[operator.inputs[0]]
        given = [self.values.get(name, like.new_zeros((1, 0))) for name in operator.inputs]
        frames = self._unstack(given[0])
        given[0] = frames.flatten(1, 2)
        for register, state in zip(registers, entering, strict=True):
            given[register.slot] = state
        results = kernel(given)
        sequence = results[0].reshape(self.batch * self.count, -1, *results[0].shape[2:])
        self.values[operator.outputs[0]] = sequence
        # Of a forward layer, the state after a window is the output of its last frame.
        self.values[operator.outputs[1]] = sequence[:, -1]

    def _shift(self, frames: Tensor, before: Tensor, axis: int) -> Tensor:
        """Put in front of every window the frames that precede it."""
        stream = self._unstack(frames).movedim(axis + 1, 2)
        width, length = stream.shape[2], before.shape[axis]
        joined = torch.cat([before.movedim(axis, 1), stream.flatten(1, 2)], 1)
        if self.count == 1:
            return joined.movedim(1, axis)
        windows = joined.unfold(1, length + width, width)
        return windows.movedim(-1, axis + 1).flatten(0, 1)
