"""Bytes of every tensor, worked out by hand from how ESP-DL hands out memory."""

from __future__ import annotations

import pytest

from lightning_esp.espdl.memory import plan_memory
from lightning_esp.espdl.memory.arena import Arena
from tests.espdl.memory.programs import chain


def offsets(plan: object) -> dict[str, tuple[int, int]]:
    return {name: (place.arena, place.begin) for name, place in plan.places.items()}  # type: ignore[attr-defined]


def test_bytes_come_in_sixteens_and_the_tightest_gap_is_taken() -> None:
    arena = Arena()
    first, second, third, fourth = (arena.take(size) for size in (33, 16, 20, 1))
    assert (first, second, third, fourth, arena.size) == (0, 48, 64, 96, 112)
    arena.give_back(0)
    arena.give_back(64)
    assert arena.take(17) == 64
    assert arena.take(17) == 0
    assert arena.size == 112


def test_gaps_side_by_side_become_one() -> None:
    arena = Arena()
    places = [arena.take(16) for _ in range(4)]
    for place in (places[0], places[2], places[1]):
        assert place is not None
        arena.give_back(place)
    assert arena.take(48) == 0


def test_a_gap_at_the_end_grows() -> None:
    arena = Arena()
    arena.take(16)
    arena.give_back(arena.take(16))  # type: ignore[arg-type]
    assert arena.take(64) == 16
    assert arena.size == 80


def test_an_arena_of_fixed_size_says_when_it_is_full() -> None:
    arena = Arena(48)
    assert (arena.take(30), arena.take(17), arena.take(16), arena.size) == (0, None, 32, 48)


def test_operators_work_in_place_where_nothing_reads_the_input_again() -> None:
    plan = plan_memory(chain(("Conv", "x", "h"), ("Relu", "h", "r"), ("Add", "rx", "y"), inputs="x", outputs="y"))
    assert offsets(plan) == {"x": (0, 0), "h": (0, 32), "r": (0, 32), "y": (0, 32)}
    assert plan.size == 64


def test_a_sum_takes_the_first_operand_that_is_large_enough() -> None:
    program = chain(("Conv", "x", "b"), ("Add", "sb", "y"), inputs="xs", outputs="y", s=8)
    # Inputs and the first output begin together, in the order in which the operators name them.
    assert offsets(plan_memory(program)) == {"x": (0, 0), "b": (0, 32), "s": (0, 64), "y": (0, 32)}


def test_memory_is_taken_again_behind_the_last_reader() -> None:
    program = chain(
        ("Conv", "x", "a"), ("Conv", "a", "b"), ("Conv", "b", "y"), inputs="x", outputs="y", x=10, a=100, b=5, y=50
    )
    assert offsets(plan_memory(program)) == {"x": (0, 0), "a": (0, 16), "b": (0, 0), "y": (0, 16)}


@pytest.mark.parametrize(("internal", "places"), [(48, [1, 1, 0]), (96, [1, 1, 1]), (16, [0, 0, 0])])
def test_internal_memory_comes_first(internal: int, places: list[int]) -> None:
    program = chain(("Conv", "x", "a"), ("Conv", "a", "y"), inputs="x", outputs="y", x=16, a=32, y=32)
    plan = plan_memory(program, internal)
    assert [place.arena for place in plan.places.values()] == places
    assert plan.internal == (internal if internal > 16 else 0)
