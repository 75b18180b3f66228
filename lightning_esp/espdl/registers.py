"""Find what a model remembers between windows, so that many windows can be computed at once.

An explicit cache is a graph input whose next value is a graph output. Two forms can be unrolled over time: a shift
register (Concat of the cache and new frames, whose last frames become the next cache) and the state of a forward GRU or
LSTM. That a cache has such a form is not guessed from operator names: the operators between are run on arrays of unique
numbers, and the numbers must come out in the right places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lightning_esp.espdl.espdl_model import Array
from lightning_esp.espdl.interpreter import EspdlInterpreter, Instruction
from lightning_esp.espdl.kernels.node import positive_axis

_MOVING = ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Slice")
_STATE_INPUTS = {"GRU": (5,), "LSTM": (5, 6)}


@dataclass(frozen=True, eq=False)
class Register:
    """One explicit cache.

    Attributes:
        cache: The graph input.
        following: The graph output that holds its next value.
        core: Position of the Concat, GRU or LSTM that reads it.
        slot: Which input of the core it is.
        entering: Positions of the operators from the cache to the core.
        leaving: Positions of the operators from the core to the next value.
    """

    cache: str
    following: str
    core: int
    slot: int
    entering: tuple[int, ...]
    leaving: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Unrolling:
    """Plan to run a model over many windows at once.

    Attributes:
        registers: The explicit caches.
        skipped: Positions of operators that only carry caches; they run once per block, not once per window.
    """

    registers: tuple[Register, ...]
    skipped: frozenset[int]

    def at(self, position: int) -> tuple[Register, ...]:
        """Return the caches that the operator at a position reads, in the order of its inputs."""
        return tuple(sorted((item for item in self.registers if item.core == position), key=lambda item: item.slot))


class _NotUnrollableError(Exception):
    """A cache has another form; the message says which."""


def unroll(interpreter: EspdlInterpreter, feedback: Mapping[str, str]) -> Unrolling | str:
    """Analyse a model's explicit caches.

    Args:
        interpreter: The model.
        feedback: For every cache input the output that holds its next value.

    Returns:
        How to run many windows at once, or the reason why it has to step.
    """
    instructions = interpreter.instructions
    try:
        registers = tuple(_find(interpreter, cache, following) for cache, following in feedback.items())
        for item in registers:
            _check(interpreter, item)
        for position, instruction in enumerate(instructions):
            _check_recurrent(position, instruction, registers, interpreter)
    except _NotUnrollableError as reason:
        return str(reason)
    return Unrolling(registers, _carrying_only(interpreter, registers))


def _readers(instructions: Sequence[Instruction], name: str) -> list[int]:
    return [index for index, item in enumerate(instructions) if name in item.node.operator.inputs]


def _find(interpreter: EspdlInterpreter, cache: str, following: str) -> Register:
    instructions = interpreter.instructions
    entering: list[int] = []
    name = cache
    while True:
        readers = _readers(instructions, name)
        if len(readers) != 1:
            raise _NotUnrollableError(f"{name} is read by {len(readers)} operators")
        operator = instructions[readers[0]].node.operator
        if operator.type in ("Concat", *_STATE_INPUTS):
            break
        if operator.type not in _MOVING or len(operator.outputs) != 1:
            raise _NotUnrollableError(f"{cache} is read by {operator.type} {operator.name!r}")
        entering.append(readers[0])
        name = operator.outputs[0]
    slot = operator.inputs.index(name)
    if slot not in _STATE_INPUTS.get(operator.type, (0,)):
        raise _NotUnrollableError(f"{cache} is input {slot} of {operator.type} {operator.name!r}")
    leaving = _trace_back(instructions, following, readers[0])
    return Register(cache, following, readers[0], slot, tuple(entering), leaving)


def _trace_back(instructions: Sequence[Instruction], following: str, core: int) -> tuple[int, ...]:
    makers = {name: index for index, item in enumerate(instructions) for name in item.node.operator.outputs}
    leaving: list[int] = []
    name = following
    while makers.get(name) != core:
        maker = makers.get(name)
        if maker is None or instructions[maker].node.operator.type not in _MOVING:
            raise _NotUnrollableError(f"{following} does not come from the operator that reads its cache")
        leaving.insert(0, maker)
        name = instructions[maker].node.operator.inputs[0]
    return tuple(leaving)


def _check(interpreter: EspdlInterpreter, item: Register) -> None:
    """Follow unique numbers from the core to the next value and, as the next cache, back into the core."""
    node = interpreter.instructions[item.core].node
    numbers = _numbers(interpreter.shapes[_core_output(interpreter, item)])
    returned = carry(interpreter, item.entering, carry(interpreter, item.leaving, numbers))
    expected = numbers
    if node.operator.type == "Concat":
        axis = positive_axis(int(node.attribute("axis", 0)), len(node.input(0).shape))
        length = numbers.shape[axis]
        frames = node.input(0).shape[axis - 1]
        expected = np.take(numbers, np.arange(length - frames, length), axis=axis)
        if len(node.operator.inputs) != 2:
            raise _NotUnrollableError(f"Concat {node.operator.name!r} has {len(node.operator.inputs)} inputs")
    if not np.array_equal(returned, expected):
        raise _NotUnrollableError(f"{item.following} is not made of the latest frames of {item.cache}")


def _core_output(interpreter: EspdlInterpreter, item: Register) -> str:
    if item.leaving:
        return interpreter.instructions[item.leaving[0]].node.operator.inputs[0]
    return item.following


def _check_recurrent(
    position: int, instruction: Instruction, registers: tuple[Register, ...], interpreter: EspdlInterpreter
) -> None:
    """A recurrent layer unrolls if it runs forward and its whole state comes from caches, in the right pairs."""
    node = instruction.node
    if node.operator.type not in _STATE_INPUTS:
        return
    if node.attribute("direction", "forward") != "forward":
        raise _NotUnrollableError(f"{node.operator.type} {node.operator.name!r} runs backward too")
    own = {item.slot: item for item in registers if item.core == position}
    for slot in _STATE_INPUTS[node.operator.type]:
        if node.optional_input(slot) is None:
            continue
        wanted = node.operator.outputs[slot - 4]
        if slot not in own or _core_output(interpreter, own[slot]) != wanted:
            raise _NotUnrollableError(
                f"state input {slot} of {node.operator.type} {node.operator.name!r} is not fed by {wanted}"
            )
    carried = node.operator.outputs[2] if len(node.operator.outputs) > 2 else ""
    carry_readers = _readers(interpreter.instructions, carried) if carried else []
    if 6 in own and any(reader not in own[6].leaving for reader in carry_readers):
        raise _NotUnrollableError(f"the cell state of {node.operator.name!r} is used inside the model")


def carry(interpreter: EspdlInterpreter, positions: Sequence[int], values: Array) -> Array:
    """Run operators that only move values, one after the other.

    Args:
        interpreter: The model.
        positions: Positions of the operators.
        values: Batched array that enters the first.

    Returns:
        Batched array that leaves the last.
    """
    for position in positions:
        kernel = interpreter.instructions[position].run
        assert kernel is not None
        values = kernel([values])[0]
    return values


def _numbers(shape: tuple[int, ...]) -> Array:
    return np.arange(int(np.prod(shape)), dtype=np.int64).reshape(1, *shape)


def _carrying_only(interpreter: EspdlInterpreter, registers: tuple[Register, ...]) -> frozenset[int]:
    """Return the operators on the way of caches whose results nothing else reads."""
    instructions, outputs = interpreter.instructions, interpreter.model.outputs
    caches = {item.following for item in registers}
    skipped = {position for item in registers for position in item.entering}
    leaving = {position for item in registers for position in item.leaving}
    for position in sorted(leaving, reverse=True):
        names = instructions[position].node.operator.outputs
        readers = {reader for name in names for reader in _readers(instructions, name)}
        if readers <= skipped and not any(name in outputs and name not in caches for name in names):
            skipped.add(position)
    return frozenset(skipped)
