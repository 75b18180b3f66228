"""ESP-DL's memory plan: hazards are found where memory really fails, nowhere else, and are mended."""

from __future__ import annotations

from functools import partial

import pytest

from lightning_esp.espdl.memory import Hazard, Program, check_memory, find_hazards, mend, plan_memory
from tests.espdl.memory.programs import Referee, chain, programs
from tests.support.drawing import hold, smallest

# What is planted, and the read that fails: tensor, reader, writer.
PLANTED = {
    "a mask: the input is read behind an operator that works in place on a view of it": (
        chain(
            ("Unsqueeze", "x", "v"),
            ("LayerNormalization", "v", "n"),
            ("Conv", "n", "c"),
            ("Squeeze", "c", "m"),
            ("Mul", "xm", "y"),
            inputs="x",
            outputs="y",
        ),
        Hazard("x", 4, 1),
    ),
    "a mean over a view beside what it is a mean of": (
        chain(
            ("Reshape", "x", "v"), ("ReduceMean", "v", "m"), ("Concat", "xm", "y"), inputs="x", outputs="y", m=8, y=40
        ),
        Hazard("x", 2, 1),
    ),
    "through three views": (
        chain(
            ("Reshape", "x", "a"),
            ("Squeeze", "a", "b"),
            ("Flatten", "b", "c"),
            ("Relu", "c", "r"),
            ("Conv", "r", "d"),
            ("Add", "dx", "y"),
            inputs="x",
            outputs="y",
        ),
        Hazard("x", 5, 3),
    ),
    "two views, one overwritten and one read": (
        chain(
            ("Conv", "x", "h"),
            ("Reshape", "h", "a"),
            ("Reshape", "h", "b"),
            ("Sigmoid", "a", "s"),
            ("Mul", "sb", "y"),
            inputs="x",
            outputs="y",
        ),
        Hazard("b", 4, 3),
    ),
    "a graph output that is a view, overwritten through another view": (
        chain(
            ("Conv", "x", "h"),
            ("Reshape", "h", "o"),
            ("Reshape", "h", "v"),
            ("Relu", "v", "r"),
            ("Conv", "r", "y"),
            inputs="x",
            outputs="oy",
        ),
        Hazard("o", 5, 3),
    ),
    "a graph output that is a view, and whose original is read again and released": (
        chain(
            ("Conv", "x", "h"),
            ("Reshape", "h", "o"),
            ("Conv", "h", "a"),
            ("Conv", "a", "b"),
            inputs="x",
            outputs="ob",
        ),
        Hazard("o", 4, 3),
    ),
}

SAFE = {
    "the original is read directly, so ESP-DL parts the two itself": chain(
        ("Relu", "x", "r"), ("Conv", "r", "c"), ("Add", "xc", "y"), inputs="x", outputs="y"
    ),
    "the view is read again behind it": chain(
        ("Reshape", "x", "v"), ("Relu", "v", "r"), ("Add", "vr", "y"), inputs="x", outputs="y"
    ),
    "nothing is read again": chain(
        ("Reshape", "x", "v"), ("Relu", "v", "r"), ("Conv", "r", "y"), inputs="x", outputs="y"
    ),
    "the view stands before, so nothing works in place on the original": chain(
        ("Reshape", "x", "v"), ("Relu", "x", "r"), ("Add", "vr", "y"), inputs="x", outputs="y"
    ),
    "the original is a graph output, which nothing shares": chain(
        ("Conv", "x", "h"), ("Reshape", "h", "v"), ("Relu", "v", "y"), inputs="x", outputs="hy"
    ),
    "an operator that never works in place": chain(
        ("Reshape", "x", "v"), ("Softmax", "v", "s"), ("Mul", "xs", "y"), inputs="x", outputs="y"
    ),
    "the output is larger than the view": chain(
        ("Reshape", "x", "v"), ("Add", "vv", "a"), ("Add", "xa", "y"), inputs="x", outputs="y", v=32, a=64, y=64
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_hazard_is_found_and_mended(name: str) -> None:
    program, hazard = PLANTED[name]
    assert hazard in find_hazards(program, plan_memory(program))
    assert check_memory(program)[0] == hazard
    referee = Referee(program)
    assert not referee.is_right(program)
    mended = mend(program)
    assert check_memory(mended) == ()
    assert referee.is_right(mended)
    assert mended.inputs == program.inputs
    assert mended.outputs == program.outputs


@pytest.mark.parametrize("name", SAFE)
def test_what_is_safe_stays_as_it_is(name: str) -> None:
    program = SAFE[name]
    assert check_memory(program) == ()
    assert Referee(program).is_right(program)
    assert mend(program) is program


def _check(program: Program, wrong: list[bool]) -> None:
    """Hold the check and the mending of one program against memory that really is written; note whether it was wrong."""
    referee, base = Referee(program), plan_memory(program)
    # Internal RAM of any size is the firmware's choice, so the plan must hold with all of them.
    rooms = [0, *range(32, base.size + 16, 16)]
    hazards, mended = check_memory(program), mend(program)
    assert bool(find_hazards(program, base)) != referee.is_right(program), "in external RAM"
    assert bool(hazards) != all(referee.is_right(program, room) for room in rooms), "in internal RAM"
    assert (mended is program) == (not hazards), "what is mended"
    assert all(referee.is_right(mended, room) for room in rooms), "what was mended"
    wrong.append(bool(hazards))


def test_every_drawn_hazard_is_found_and_mended_and_none_is_invented() -> None:
    wrong = list[bool]()
    hold(partial(_check, wrong=wrong), programs(), 150)
    assert 15 < sum(wrong) < 135


@pytest.mark.full
def test_every_drawn_hazard_of_many_programs_is_found_and_mended() -> None:
    wrong = list[bool]()
    hold(partial(_check, wrong=wrong), programs(), 5000, 1000)
    assert sum(wrong) > 500


def test_a_hazard_shrinks_to_few_steps() -> None:
    """Three are the least that a program is drawn with."""
    found = smallest(programs(), check_memory)
    assert len(found.steps) == 3
    assert len(found.inputs) == 1


def test_a_view_is_cheaper_than_a_copy_and_moving_is_cheaper_than_a_view() -> None:
    program, _ = PLANTED["a mask: the input is read behind an operator that works in place on a view of it"]
    mended = mend(program)
    assert [step.type for step in mended.steps] == [
        "Unsqueeze",
        "LayerNormalization",
        "Conv",
        "Squeeze",
        "Reshape",
        "Mul",
    ]
    assert mended.steps[4].inputs == ("v",)
    # Nothing but the buffer that the norm needs for itself now, in the place of x's.
    assert plan_memory(mended).size == 96
    late = chain(
        ("Reshape", "x", "v"), ("Relu", "v", "r"), ("Conv", "r", "y"), ("Conv", "x", "z"), inputs="x", outputs="yz"
    )
    assert [step.name for step in mend(late).steps] == ["Reshape v", "Conv z", "Relu r", "Conv y"]


def test_a_view_that_reads_late_changes_sides() -> None:
    program = chain(
        ("Conv", "x", "h"),
        ("Reshape", "h", "v"),
        ("Relu", "v", "r"),
        ("Conv", "r", "c"),
        ("Unsqueeze", "h", "u"),
        ("Mul", "uc", "y"),
        inputs="x",
        outputs="y",
    )
    steps = {step.outputs[0]: step for step in mend(program).steps}
    assert len(steps) == len(program.steps)
    assert (steps["u"].type, steps["u"].inputs) in [("Reshape", ("v",)), ("Unsqueeze", ("h",))]


def test_graph_outputs_keep_their_names() -> None:
    program, _ = PLANTED["a graph output that is a view, overwritten through another view"]
    read = chain(
        ("Conv", "x", "h"),
        ("Reshape", "h", "o"),
        ("Reshape", "h", "v"),
        ("Relu", "v", "r"),
        ("Add", "ro", "y"),
        inputs="x",
        outputs="oy",
    )
    for one in (program, read):
        mended = mend(one)
        assert sum("o" in step.outputs for step in mended.steps) == 1
        assert check_memory(mended) == ()
