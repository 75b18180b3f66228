"""Run a model over many windows of whole recordings.

Window by window, the result is what stepping the interpreter gives. Where the caches are shift registers or recurrent
states (see `registers`), all windows of a block are computed as one batch instead: what a cache holds at a window is
then known from the frames before it, and only recurrent layers walk through time. The integers are the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lightning_esp.errors import EspdlError
from lightning_esp.espdl.espdl_model import Array
from lightning_esp.espdl.interpreter import EspdlInterpreter, Instruction, compute, from_batched, to_batched
from lightning_esp.espdl.kernels.node import positive_axis
from lightning_esp.espdl.registers import Register, Unrolling, carry, unroll

# Windows of a block over all recordings of a batch, and values of its largest tensor.
_BLOCK_WINDOWS, _BLOCK_VALUES = 2048, 1 << 24


@dataclass(frozen=True, eq=False)
class Recording:
    """Outputs and final state of a model on whole recordings.

    Attributes:
        outputs: Every graph output that is not a cache, shape (batch, windows, ...).
        caches: The explicit caches after the last window, by input name, shape (batch, ...).
        state: The native caches after the last window.
    """

    outputs: dict[str, Array]
    caches: dict[str, Array]
    state: dict[str, Array]


class EspdlRecorder:
    """Runs one interpreter over recordings that are cut into windows.

    Args:
        interpreter: The model.
        feedback: For every explicit cache (a graph input) the graph output that holds its next value.

    Raises:
        EspdlError: `feedback` names an input or output that the model does not have.

    Attributes:
        reason: Why the model has to step window by window; "" where whole blocks are computed at once.
    """

    def __init__(self, interpreter: EspdlInterpreter, feedback: Mapping[str, str]) -> None:
        model = interpreter.model
        unknown = [name for name in feedback if name not in model.inputs]
        unknown += [name for name in feedback.values() if name not in model.outputs]
        if unknown:
            raise EspdlError(
                f"feedback: {unknown} are not among the inputs {list(model.inputs)} and outputs {list(model.outputs)}."
            )
        self._interpreter = interpreter
        self._feedback = dict(feedback)
        found = unroll(interpreter, feedback)
        self._unrolling = found if isinstance(found, Unrolling) else None
        self.reason = found if isinstance(found, str) else ""
        largest = max(math.prod(shape) for shape in interpreter.shapes.values())
        self._block = min(_BLOCK_WINDOWS, _BLOCK_VALUES // max(1, largest))

    def initial_caches(self, batch: int) -> dict[str, Array]:
        """Return zeros for every explicit cache, shape (batch, ...) as in the file."""
        tensors = {name: self._interpreter.model.tensors[name] for name in self._feedback}
        return {name: from_batched(np.zeros((batch, *item.shape), item.dtype)) for name, item in tensors.items()}

    def run(
        self,
        windows: Mapping[str, Array],
        caches: Mapping[str, Array] | None = None,
        state: Mapping[str, Array] | None = None,
        stepwise: bool = False,
    ) -> Recording:
        """Run recordings from their first window to the last.

        Args:
            windows: Every graph input that is not a cache, shape (batch, windows, ...) with the file's shape (without
                its leading 1) behind the two axes.
            caches: Explicit caches before the first window; zeros by default.
            state: Native caches before the first window; zeros by default.
            stepwise: Whether to step window by window in any case.

        Returns:
            All outputs, and the caches after the last window.

        Raises:
            EspdlError: An input is missing or has another shape or type than the file says.
        """
        lengths = {array.shape[:2] for array in windows.values()}
        if len(lengths) != 1 or 0 in next(iter(lengths)):
            raise EspdlError(
                f"windows: every input needs the same (batch, windows), at least 1 of each; got {lengths}."
            )
        batch, count = next(iter(lengths))
        held = self.initial_caches(batch) if caches is None else dict(caches)
        native = self._interpreter.initial_state(batch) if state is None else dict(state)
        unrolling = None if stepwise else self._unrolling
        size = 1 if unrolling is None else max(1, self._block // batch)
        blocks: list[dict[str, Array]] = []
        for start in range(0, count, size):
            block = {name: array[:, start : start + size] for name, array in windows.items()}
            if unrolling is None:
                outputs, held, native = self._step(block, held, native)
            else:
                outputs, held, native = _Block(self._interpreter, unrolling, block, held, native).run()
            blocks.append(outputs)
        return Recording({name: np.concatenate([b[name] for b in blocks], axis=1) for name in blocks[0]}, held, native)

    def _step(
        self, block: Mapping[str, Array], caches: Mapping[str, Array], state: Mapping[str, Array]
    ) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array]]:
        inputs = {**{name: array[:, 0] for name, array in block.items()}, **caches}
        outputs, following = self._interpreter.step(inputs, state)
        held = {name: outputs.pop(source) for name, source in self._feedback.items()}
        return {name: array[:, None] for name, array in outputs.items()}, held, following


class _Block:
    """Some windows of a batch of recordings, computed as one large batch."""

    def __init__(
        self,
        interpreter: EspdlInterpreter,
        unrolling: Unrolling,
        block: Mapping[str, Array],
        caches: Mapping[str, Array],
        state: Mapping[str, Array],
    ) -> None:
        self._interpreter, self._unrolling, self._state = interpreter, unrolling, state
        self._tensors = interpreter.model.tensors
        self._batch, self._count = next(iter(block.values())).shape[:2]
        self._values = dict(interpreter.constants)
        for name, array in block.items():
            flat = array.reshape(self._batch * self._count, *array.shape[2:])
            self._values[name] = to_batched(self._tensors[name], interpreter.check_input(name, flat))
        self._caches = {
            item.cache: to_batched(self._tensors[item.cache], interpreter.check_input(item.cache, caches[item.cache]))
            for item in unrolling.registers
        }

    def run(self) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array]]:
        held: dict[str, Array] = {}
        native: dict[str, Array] = {}
        for position, item in enumerate(self._interpreter.instructions):
            registers = self._unrolling.at(position)
            if position in self._unrolling.skipped:
                continue
            if item.cache is not None:
                name, key = item.node.operator.inputs[0], item.cache.key
                before = self._interpreter.check_cache(self._state, item.cache, self._batch)
                joined, native[key] = self._shift(self._values[name], before, item.cache.axis)
                native[key] = native[key][:, 0]
                self._values[item.node.operator.outputs[0]] = joined
            elif registers:
                held.update(self._remember(item, registers))
            else:
                self._values.update(compute(item, self._values))
            for name in item.released:
                self._values.pop(name, None)
        following = {item.following for item in self._unrolling.registers}
        outside = [name for name in self._interpreter.model.outputs if name not in following]
        return {name: self._unstack(from_batched(self._values[name])) for name in outside}, held, native

    def _unstack(self, array: Array) -> Array:
        return array.reshape(self._batch, self._count, *array.shape[1:])

    def _remember(self, item: Instruction, registers: tuple[Register, ...]) -> dict[str, Array]:
        """Run a Concat, GRU or LSTM over all windows; return the caches after the last one."""
        entering = [carry(self._interpreter, register.entering, self._caches[register.cache]) for register in registers]
        operator = item.node.operator
        if operator.type == "Concat":
            axis = positive_axis(int(item.node.attribute("axis", 0)), len(item.node.input(0).shape))
            joined, _ = self._shift(self._values[operator.inputs[1]], entering[0], axis)
            self._values[operator.outputs[0]] = joined
            finals = [self._unstack(joined)[:, -1]]
        else:
            finals = self._scan(item, registers, entering)
        return {
            register.cache: from_batched(carry(self._interpreter, register.leaving, final))
            for register, final in zip(registers, finals, strict=True)
        }

    def _shift(self, frames: Array, before: Array, axis: int) -> tuple[Array, Array]:
        """Put in front of every window the frames that precede it; return that, and the last frames of all."""
        stream = np.moveaxis(self._unstack(frames), axis + 1, 2)
        width, length = stream.shape[2], before.shape[axis]
        stream = stream.reshape(self._batch, self._count * width, *stream.shape[3:])
        joined = np.concatenate((np.moveaxis(before, axis, 1), stream), axis=1)
        views = np.lib.stride_tricks.sliding_window_view(joined, length + width, axis=1)[:, ::width]
        windows = np.moveaxis(views, -1, axis + 1)
        last = np.moveaxis(joined[:, joined.shape[1] - length :], 1, axis)
        return windows.reshape(self._batch * self._count, *windows.shape[2:]), last

    def _scan(self, item: Instruction, registers: tuple[Register, ...], entering: list[Array]) -> list[Array]:
        """Run a recurrent layer over the frames of all windows in a row."""
        assert item.run is not None
        operator = item.node.operator
        values = [self._values.get(name, np.zeros((1, 0), np.int8)) for name in operator.inputs]
        frames = self._unstack(values[0])
        values[0] = frames.reshape(self._batch, -1, *frames.shape[3:])
        for register, array in zip(registers, entering, strict=True):
            values[register.slot] = array
        results = item.run(values)
        sequence = results[0].reshape(self._batch * self._count, -1, *results[0].shape[2:])
        self._values[operator.outputs[0]] = sequence
        # Of a forward layer, the state after a window is the output of its last frame.
        self._values[operator.outputs[1]] = sequence[:, -1]
        return [results[register.slot - 4] for register in registers]
