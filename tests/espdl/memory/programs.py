"""Programs drawn at random, and an executor that runs one on flat memory, where its plan says.

It knows nothing of lifetimes: it reads bytes, mixes them, and writes bytes. A cell stands for a byte and holds 64 bits, so
that what was overwritten cannot agree with what was there by accident.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from lightning_esp.espdl.memory import MemoryPlan, Placing, Program, Step, plan_memory

Cells = npt.NDArray[np.uint64]

SIZES = (4, 8, 20, 40, 64)
_SHRINKING = {"ReduceMean": 4, "Slice": 2}
_TYPES = ("Relu", "Sigmoid", "Reshape", "Reshape", "Squeeze", "Unsqueeze", "Add", "Mul", "Concat", "Conv", *_SHRINKING)


def chain(*steps: tuple[str, str, str], inputs: str, outputs: str, **sizes: int) -> Program:
    """A program of `(type, inputs, output)`, names being single letters, of 32 bytes where `sizes` says nothing else."""
    made = tuple(Step(f"{kind} {output}", kind, tuple(read), (output,)) for kind, read, output in steps)
    every = {*inputs, *(step.outputs[0] for step in made)}
    return Program(made, tuple(inputs), tuple(outputs), {name: sizes.get(name, 32) for name in every})


def draw(seed: int) -> Program:
    """Views, operators that work in place, others, late readers, several outputs."""
    rng = random.Random(seed)
    sizes = {f"in{index}": rng.choice(SIZES) for index in range(rng.randint(1, 3))}
    inputs, steps = tuple(sizes), list[Step]()
    for index in range(rng.randint(3, 14)):
        known = list(sizes)
        kind, first = rng.choice(_TYPES), rng.choice(known if rng.random() < 0.3 else known[-6:])
        read = (first, *_second(rng, kind, first, sizes))
        step = Step(f"op{index}", kind, read if rng.random() < 0.5 else read[::-1], (f"t{index}",))
        steps.append(step)
        sizes[step.outputs[0]] = _size(rng, step, sizes)
    read_names = {name for step in steps for name in step.inputs}
    made = [step.outputs[0] for step in steps]
    outputs = tuple(name for name in made if name not in read_names or rng.random() < 0.15)
    return Program(tuple(steps), tuple(name for name in inputs if name in read_names), outputs, sizes)


def _second(rng: random.Random, kind: str, first: str, sizes: Mapping[str, int]) -> list[str]:
    if kind == "Concat":
        return [rng.choice(list(sizes))]
    # Element by element: of one size, or one number for all.
    fitting = [name for name, size in sizes.items() if size in (sizes[first], SIZES[0])]
    return [rng.choice(fitting)] if kind in ("Add", "Mul") else []


def _size(rng: random.Random, step: Step, sizes: Mapping[str, int]) -> int:
    found = [sizes[name] for name in step.inputs]
    if step.type == "Concat":
        return sum(found)
    if step.type == "Conv":
        return rng.choice(SIZES)
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
