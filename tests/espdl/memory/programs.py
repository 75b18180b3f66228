"""Programs drawn at random, and an executor that runs one on flat memory, where its plan says.

It knows nothing of lifetimes: it reads bytes, mixes them, and writes bytes. A cell stands for a byte and holds 64 bits, so
that what was overwritten cannot agree with what was there by accident.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from lightning_esp.espdl.memory import MemoryPlan, Placing, Program, Step, plan_memory

T = TypeVar("T")
Cells = npt.NDArray[np.uint64]

SIZES = (4, 8, 20, 40, 64)
_SHRINKING = {"ReduceMean": 4, "Slice": 2}
_TYPES = ("Relu", "Sigmoid", "Reshape", "Reshape", "Squeeze", "Unsqueeze", "Add", "Mul", "Concat", "Conv", *_SHRINKING)


def chain(*steps: tuple[str, str, str], inputs: str, outputs: str, **sizes: int) -> Program:
    """A program of `(type, inputs, output)`, names being single letters, of 32 bytes where `sizes` says nothing else."""
    made = tuple(Step(f"{kind} {output}", kind, tuple(read), (output,)) for kind, read, output in steps)
    every = {*inputs, *(step.outputs[0] for step in made)}
    return Program(made, tuple(inputs), tuple(outputs), {name: sizes.get(name, 32) for name in every})


# A step is one string of bytes, so that shrinking can leave it out at once: its type; how far back lies what it reads, and
# what it reads besides, where it reads two; the size of its output, where that is free; whether the two are read the other
# way round; whether its output leaves the graph as well.
_STEPS = st.binary(min_size=6, max_size=6)


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Views, operators that work in place, others, late readers, several outputs; shrinks to few steps on small tensors."""
    sizes = {
        f"in{index}": size for index, size in enumerate(draw(st.lists(st.sampled_from(SIZES), min_size=1, max_size=3)))
    }
    inputs, steps, leaving = tuple(sizes), list[Step](), set[str]()
    for kind, back, other, size, turn, leave in draw(st.lists(_STEPS, min_size=3, max_size=14)):
        made = f"t{len(steps)}"
        # What was made last is read most, as in a network.
        first = _latest(sizes, back, 16 if back > 180 else 6)
        read = (first, *_second(_of(_TYPES, kind), other, first, sizes))
        steps.append(Step(f"op{len(steps)}", _of(_TYPES, kind), read if turn < 128 else read[::-1], (made,)))
        sizes[made] = _of(SIZES, size) if steps[-1].type == "Conv" else _size(steps[-1], sizes)
        leaving |= {made} if leave > 217 else set()
    read_names = {name for step in steps for name in step.inputs}
    outputs = tuple(
        step.outputs[0] for step in steps if step.outputs[0] in leaving or step.outputs[0] not in read_names
    )
    return Program(tuple(steps), tuple(name for name in inputs if name in read_names), outputs, sizes)


def _of(options: Sequence[T], byte: int) -> T:
    return options[byte * len(options) // 256]


def _latest(names: Iterable[str], byte: int, most: int = 16) -> str:
    return _of([*names][::-1][:most], byte)


def _second(kind: str, byte: int, first: str, sizes: Mapping[str, int]) -> list[str]:
    if kind == "Concat":
        return [_latest(sizes, byte)]
    # Element by element: of one size, or one number for all.
    fitting = [name for name, size in sizes.items() if size in (sizes[first], SIZES[0])]
    return [_latest(fitting, byte)] if kind in ("Add", "Mul") else []


def _size(step: Step, sizes: Mapping[str, int]) -> int:
    found = [sizes[name] for name in step.inputs]
    if step.type == "Concat":
        return sum(found)
    return max(4, max(found) // _SHRINKING.get(step.type, 1) // 4 * 4)


def _mix(step: Step, read: list[Cells], size: int) -> Cells:
    """What a step makes of its inputs: the bytes themselves for a view, else cells that depend on every cell read."""
    if step.placing is Placing.VIEW:
        return read[0].copy()
    salt = zlib.crc32(step.name.encode())
    total = sum(int((cells * (np.arange(len(cells), dtype=np.uint64) + np.uint64(3))).sum()) for cells in read)
    return (np.arange(size, dtype=np.uint64) + np.uint64((total ^ salt) % 2**64)) * np.uint64(0x9E3779B97F4A7C15)


def start(program: Program, seed: int) -> dict[str, Cells]:
    """What stands in the graph inputs."""
    rng = np.random.default_rng(seed)
    return {name: rng.integers(0, 2**64, program.sizes[name], dtype=np.uint64) for name in program.inputs}


def run_apart(program: Program, given: Mapping[str, Cells]) -> dict[str, Cells]:
    """The graph outputs where every tensor has memory of its own."""
    values = dict(given)
    for step in program.steps:
        values[step.outputs[0]] = _mix(step, [values[name] for name in step.inputs], program.sizes[step.outputs[0]])
    return {name: values[name] for name in program.outputs}


def run_planned(program: Program, plan: MemoryPlan, given: Mapping[str, Cells]) -> dict[str, Cells]:
    """The graph outputs as they stand in memory behind a run where the plan says."""
    arenas = [np.zeros(plan.size, np.uint64) for _ in range(2)]
    cells = {name: arenas[place.arena][place.begin : place.end] for name, place in plan.places.items()}
    for name, values in given.items():
        cells[name][:] = values
    for step in program.steps:
        target = cells[step.outputs[0]]
        read = [cells[name] for name in step.inputs]
        if step.placing is Placing.SEPARATE:
            # Such an operator writes before it has read everything.
            target[:] = 0
        target[:] = _mix(step, read, len(target))
    return {name: cells[name].copy() for name in program.outputs}


class Referee:
    """Holds plans of a program, or of one that is to compute the same, against memory that nothing shares."""

    def __init__(self, program: Program, seed: int = 0) -> None:
        self._given = start(program, seed)
        self._apart = run_apart(program, self._given)

    def is_right(self, program: Program, internal: int = 0) -> bool:
        """Whether planned memory gives the graph outputs."""
        found = run_planned(program, plan_memory(program, internal), self._given)
        return all(np.array_equal(self._apart[name], found[name]) for name in self._apart)
