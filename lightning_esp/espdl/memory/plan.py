"""`MemoryPlan`: where ESP-DL 3.3.9 puts every tensor of a program, byte for byte."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lightning_esp.espdl.memory.arena import ALIGNMENT, Arena
from lightning_esp.espdl.memory.lifetimes import Lifetime, lifetimes_of
from lightning_esp.espdl.memory.program import Program


@dataclass(frozen=True)
class Place:
    """Bytes of a tensor.

    Args:
        arena: 0 for the memory that holds the tensors, 1 for the internal RAM that was set aside beside it.
        begin: first byte.
        end: the byte behind the last.
    """

    arena: int
    begin: int
    end: int

    def overlaps(self, other: Place) -> bool:
        """Tell whether the two have bytes in common."""
        return self.arena == other.arena and self.begin < other.end and other.begin < self.end


@dataclass(frozen=True)
class MemoryPlan:
    """Places and lifetimes of all tensors.

    Args:
        places: bytes of each tensor, in the order in which ESP-DL numbers them.
        lifetimes: what the places follow from.
        size: bytes that ESP-DL allocates for all tensors.
        internal: of these, bytes of internal RAM that were set aside.
    """

    places: Mapping[str, Place]
    lifetimes: Mapping[str, Lifetime]
    size: int
    internal: int = 0


def plan_memory(program: Program, internal: int = 0) -> MemoryPlan:
    """Place the tensors of a program.

    Args:
        program: the model.
        internal: bytes of internal RAM for tensors on a chip that has PSRAM as well, a multiple of 16; 0 for all in one
            place.
    """
    lives = lifetimes_of(program)
    arenas = [Arena(), Arena(internal)] if internal > ALIGNMENT else [Arena()]
    found = dict[str, tuple[int, int]]()
    owners = [life for life in lives.values() if life.leader is None]
    for index in range(len(program.steps)):
        for life in owners:
            if life.end == index:
                arena, offset = found[life.name]
                arenas[arena].give_back(offset)
        for life in owners:
            if life.begin == index:
                found[life.name] = _take(arenas, life.size)
    places = {name: _place(found[life.owner.name], life.size) for name, life in lives.items()}
    return MemoryPlan(places, lives, sum(arena.size for arena in arenas), sum(arena.size for arena in arenas[1:]))


def _take(arenas: Iterable[Arena], size: int) -> tuple[int, int]:
    # Internal RAM first, as far as it goes.
    for index, arena in reversed(list(enumerate(arenas))):
        offset = arena.take(size)
        if offset is not None:
            return index, offset
    raise AssertionError("an arena that grows has room")


def _place(found: tuple[int, int], size: int) -> Place:
    arena, offset = found
    return Place(arena, offset, offset + size)
