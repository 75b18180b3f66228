"""`mend`: the same program in an order, and with views, that ESP-DL's memory manager gets right.

ESP-DL parts an operator from the tensor that it would overwrite where that very tensor is read again. So a late reader of
the same bytes by another name is given a view of that tensor: it costs an operator that does nothing, where a copy would
cost the bytes too. A reader that is a view itself only changes sides, and one that needs nothing from between moves ahead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain, count

from lightning_esp.errors import EspdlError
from lightning_esp.espdl.memory.hazards import Hazard, check_memory, find_hazards
from lightning_esp.espdl.memory.plan import MemoryPlan, plan_memory
from lightning_esp.espdl.memory.program import Placing, Program, Step

# The type that stands for any view: its new shape is stored.
VIEW = "Reshape"


def mend(program: Program) -> Program:
    """Make every read of a program find what was written for it.

    New steps and new sources of old ones are of type `Reshape`; a new step has the name of the tensor that it makes. A
    graph output that has to be made anew at the end keeps its name, and what it is made from gets a new one.

    Args:
        program: the model; it is returned as it is where nothing is wrong.

    Returns:
        The cheapest program found: the least memory, then the fewest operators.

    Raises:
        EspdlError: nothing helps.
    """
    if not check_memory(program):
        return program
    # Each remedy parts an operator from its input for good, or lets a graph output live for ever.
    for _ in range(2 * len(program.steps) + len(program.outputs)):
        plan = plan_memory(program)
        hazards = find_hazards(program, plan, latent=True)
        if not hazards:
            return program
        program = _cheapest(list(_remedies(program, plan, hazards[0])), len(hazards))
    raise EspdlError(
        f"tensor {hazards[0].tensor!r} is overwritten before it is read in ESP-DL's memory, and neither another order of the "
        "operators nor a view saves it. Report the model."
    )


def _cheapest(remedies: list[Program], hazards: int) -> Program:
    """The remedy that takes the least memory among those that leave fewer hazards; else the first, which is sure."""
    plans = [plan_memory(found) for found in remedies]
    better = [
        (plan.size, len(found.steps), index)
        for index, (found, plan) in enumerate(zip(remedies, plans, strict=True))
        if len(find_hazards(found, plan, latent=True)) < hazards
    ]
    return remedies[min(better, default=(0, 0, 0))[-1]]


def _remedies(program: Program, plan: MemoryPlan, hazard: Hazard) -> Iterator[Program]:
    source = _source(program, plan, hazard)
    if hazard.reader == len(program.steps) or source == hazard.tensor:
        # Only the bytes of a graph output are ever released too early.
        yield from _made_last(program, hazard.tensor, source)
        return
    reader = program.steps[hazard.reader]
    yield _with_view(program, hazard, source)
    if reader.placing is Placing.VIEW:
        yield _replaced(program, hazard.reader, replace(reader, type=VIEW, inputs=(source,)))
    ahead = {name for step in program.steps[: hazard.writer] for name in step.outputs}
    if ahead.union(program.inputs).issuperset(reader.inputs):
        yield _moved(program, hazard.reader, hazard.writer)


def _source(program: Program, plan: MemoryPlan, hazard: Hazard) -> str:
    """The tensor that has to be read late: the one that the writer replaces, else the one that is lost."""
    if hazard.is_released:
        return hazard.tensor
    leader = plan.lifetimes[program.steps[hazard.writer].outputs[0]].leader
    lost = plan.lifetimes[hazard.tensor]
    return leader.name if leader is not None and leader.owner is lost.owner else hazard.tensor


def _replaced(program: Program, index: int, *steps: Step, sizes: Mapping[str, int] | None = None) -> Program:
    before, after = program.steps[:index], program.steps[index + 1 :]
    return replace(program, steps=(*before, *steps, *after), sizes={**program.sizes, **(sizes or {})})


def _with_view(program: Program, hazard: Hazard, source: str) -> Program:
    reader = program.steps[hazard.reader]
    name = _unused(program, f"{reader.name}.view")
    inputs = tuple(name if read == hazard.tensor else read for read in reader.inputs)
    view = Step(name, VIEW, (source,), (name,))
    size = {name: program.sizes[hazard.tensor]}
    return _replaced(program, hazard.reader, view, replace(reader, inputs=inputs), sizes=size)


def _moved(program: Program, index: int, target: int) -> Program:
    steps = list(program.steps)
    steps.insert(target, steps.pop(index))
    return replace(program, steps=tuple(steps))


def _made_last(program: Program, output: str, source: str) -> Iterator[Program]:
    """Make a graph output by the last step, a view of `source`."""
    index = next(i for i, step in enumerate(program.steps) if output in step.outputs)
    maker = program.steps[index]
    kept = _unused(program, f"{output}.kept")
    steps = [_renamed(step, output, kept) for step in program.steps]
    last = Step(_unused(program, f"{maker.name}.view"), VIEW, (kept if source == output else source,), (output,))
    yield replace(program, steps=(*steps, last), sizes={**program.sizes, kept: program.sizes[output]})
    if maker.placing is Placing.VIEW and not any(output in step.inputs for step in program.steps):
        last = maker if source == output else replace(maker, type=VIEW, inputs=(source,))
        yield replace(program, steps=(*program.steps[:index], *program.steps[index + 1 :], last))


def _renamed(step: Step, old: str, new: str) -> Step:
    inputs = tuple(new if name == old else name for name in step.inputs)
    return replace(step, inputs=inputs, outputs=tuple(new if name == old else name for name in step.outputs))


def _unused(program: Program, name: str) -> str:
    taken = {*program.sizes, *(step.name for step in program.steps)}
    return next(found for found in chain([name], (f"{name}.{n}" for n in count(2))) if found not in taken)
