"""`Hazard`: a tensor that is read although other bytes have been written where it lies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lightning_esp.espdl.memory.arena import ALIGNMENT
from lightning_esp.espdl.memory.lifetimes import FOREVER
from lightning_esp.espdl.memory.plan import MemoryPlan, plan_memory
from lightning_esp.espdl.memory.program import Placing, Program, Step

# Sizes of internal RAM that are tried, at most.
_SIZES = 256


@dataclass(frozen=True)
class Hazard:
    """A read that finds other bytes than were written for it.

    Args:
        tensor: what is read.
        reader: index of the step that reads it; the number of steps for a graph output, which the firmware reads.
        writer: index of the step that overwrites it first, or from which on any may be given its bytes.
        is_released: whether its bytes were released too early, and hold it still.
    """

    tensor: str
    reader: int
    writer: int
    is_released: bool = False


def find_hazards(program: Program, plan: MemoryPlan, *, latent: bool = False) -> tuple[Hazard, ...]:
    """Follow which step writes which bytes when, and find every read of bytes that are not those of the tensor any more.

    Args:
        program: the model.
        plan: where its tensors lie.
        latent: also count reads of bytes that were released before, whatever lies there now, and graph outputs that do
            not live for ever.

    Returns:
        The hazards in the order of their readers.
    """
    memory = _Memory(program, plan, latent)
    found: list[Hazard] = []
    for index, step in enumerate(program.steps):
        found += memory.read(index, step.inputs)
        found += [Hazard(name, index, index) for name in _torn(step, plan)]
        memory.write(index, step)
    return tuple(dict.fromkeys((*found, *memory.read(len(program.steps), program.outputs))))


class _Memory:
    """Tensors that were written, and those of them that another has overwritten."""

    def __init__(self, program: Program, plan: MemoryPlan, latent: bool) -> None:
        self._places, self._lives = plan.places, plan.lifetimes
        self._value = {name: name for name in program.inputs}
        self._lost: dict[str, int] = {}
        self._end, self._latent = len(program.steps), latent

    def read(self, index: int, names: Iterable[str]) -> list[Hazard]:
        """The tensors among `names` that are not whole, or not safe, at a step."""
        found = []
        for name in dict.fromkeys(names):
            if name in self._lost:
                found.append(Hazard(name, index, self._lost[name]))
            elif self._latent and self._is_released(name, index):
                found.append(Hazard(name, index, self._lives[name].owner.end, is_released=True))
        return found

    def _is_released(self, name: str, index: int) -> bool:
        end = self._lives[name].owner.end if name in self._lives else FOREVER
        return end != FOREVER and (index == self._end or end <= index)

    def write(self, index: int, step: Step) -> None:
        """Lose what lies where the step writes, unless it is the same value."""
        for name in step.outputs:
            value = self._value[step.inputs[0]] if step.placing is Placing.VIEW else name
            for other, kept in self._value.items():
                if kept != value and other in self._places and self._places[name].overlaps(self._places[other]):
                    self._lost.setdefault(other, index)
            self._value[name] = value
            self._lost.pop(name, None)


def check_memory(program: Program) -> tuple[Hazard, ...]:
    """Find the hazards of a program in all tensor memory that the firmware may set aside for it.

    Args:
        program: the model.

    Returns:
        The hazards without internal RAM of its own; where there are none, those of the smallest such RAM with some.
    """
    plan = plan_memory(program)
    found = find_hazards(program, plan)
    if found or not find_hazards(program, plan, latent=True):
        return found
    # Where bytes are released too early, it depends on the room elsewhere whether they are taken.
    sizes = range(2 * ALIGNMENT, plan.size + ALIGNMENT, ALIGNMENT * (1 + plan.size // (ALIGNMENT * _SIZES)))
    return next(filter(None, (find_hazards(program, plan_memory(program, size)) for size in sizes)), ())


def _torn(step: Step, plan: MemoryPlan) -> list[str]:
    """Inputs that a step replaces while it reads them; element by element over a whole input it may."""
    places = plan.places
    return [
        name
        for output in step.outputs
        for name in step.inputs
        if places[output].overlaps(places[name]) and not _goes_ahead(step, plan, name, output)
    ]


def _goes_ahead(step: Step, plan: MemoryPlan, name: str, output: str) -> bool:
    read, written = plan.places[name], plan.places[output]
    # Behind what it reads a step may write; a smaller input is read again for other elements of the output.
    return step.placing is not Placing.SEPARATE and read.begin == written.begin and read.end >= written.end
