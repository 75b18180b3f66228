"""`balance` against every possible way to deal parts to stages."""

from __future__ import annotations

from functools import partial
from itertools import product

import pytest
from hypothesis import strategies as st

from lightning_esp.conversion import partition_search as module
from lightning_esp.conversion.partition_search import CrossingTensor, Parts, balance, closed_sets
from tests.support.drawing import hold

GRAPHS = 60


@st.composite
def graphs(draw: st.DrawFn, count: int) -> Parts:
    """A graph with branches and skips, costs that often tie, and tensors of different size.

    Shrinks to parts that cost nothing and need no other, and to small tensors.
    """
    costs = tuple(
        float(draw(st.sampled_from([0, 1, 1, 2, 3, 5, 8]))) + draw(st.sampled_from([0.0, 0.5])) for _ in range(count)
    )
    needs = tuple(
        frozenset(draw(st.lists(st.integers(0, part - 1), max_size=2)) if part else ()) for part in range(count)
    )
    readers = {part: frozenset(other for other in range(count) if part in needs[other]) for part in range(count)}
    sizes = st.sampled_from([1, 4, 16])
    return Parts(
        costs, needs, tuple(CrossingTensor(part, found, draw(sizes)) for part, found in readers.items() if found)
    )


def weigh(parts: Parts, stage_of: tuple[int, ...], stages: int) -> tuple[float, int]:
    """Cost of the costliest stage, and bytes over all cuts, straight from their definitions."""
    costs = [sum(cost for cost, stage in zip(parts.costs, stage_of, strict=True) if stage == k) for k in range(stages)]
    crossing = 0
    for cut in range(stages - 1):
        for tensor in parts.tensors:
            if stage_of[tensor.producer] <= cut < max(stage_of[reader] for reader in tensor.readers):
                crossing += tensor.size
    return max(costs), crossing


def best_of_all(parts: Parts, stages: int) -> tuple[float, int]:
    """Every way to deal parts to stages that respects who needs whom and leaves no stage empty."""
    found = []
    for stage_of in product(range(stages), repeat=len(parts.costs)):
        fits = all(stage_of[need] <= stage_of[part] for part, needs in enumerate(parts.needs) for need in needs)
        if fits and len(set(stage_of)) == stages:
            found.append(weigh(parts, stage_of, stages))
    return min(found)


def assert_no_other_cut_is_better(parts: Parts, stages: int) -> None:
    found = balance(parts, stages)
    assert found is not None
    assert all(found[need] <= found[part] for part, needs in enumerate(parts.needs) for need in needs)
    cost, crossing = weigh(parts, found, stages)
    best_cost, best_crossing = best_of_all(parts, stages)
    assert cost == pytest.approx(best_cost)
    assert crossing == best_crossing


@pytest.mark.parametrize("stages", [1, 2, 3, 4])
def test_no_other_cut_is_better(stages: int) -> None:
    hold(partial(assert_no_other_cut_is_better, stages=stages), graphs(6 if stages == 4 else 7), GRAPHS)


def test_more_stages_than_parts_are_refused() -> None:
    parts = Parts((1.0,) * 3, (frozenset(),) * 3, ())
    assert balance(parts, 3) is not None
    assert balance(parts, 4) is None


def test_few_bytes_decide_between_cuts_of_equal_cost() -> None:
    # 1 1 | 1 1 costs as much as any other even cut; the thin tensor is the one to cut.
    parts = Parts(
        (2.0, 1.0, 0.0, 1.0, 2.0),
        (frozenset(), *(frozenset({i}) for i in range(4))),
        tuple(CrossingTensor(i, frozenset({i + 1}), size) for i, size in enumerate((9, 5, 2, 9))),
    )
    assert balance(parts, 2) == (0, 0, 0, 1, 1)


def test_a_graph_with_too_many_sets_is_cut_in_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = Parts((1.0,) * 12, (frozenset(),) * 12, ())
    assert closed_sets(wide) == [(1 << count) - 1 for count in range(13)]
    assert balance(wide, 3) == (0,) * 4 + (1,) * 4 + (2,) * 4
    # In order, the result is at least never worse than the best cut of the line, which for a chain is the best of all.
    monkeypatch.setattr(module, "MAX_SETS", 0)
    hold(assert_a_chain_is_cut_best, graphs(7), 10)


def assert_a_chain_is_cut_best(parts: Parts) -> None:
    chain = Parts(parts.costs, (frozenset(), *(frozenset({i}) for i in range(6))), ())
    found = balance(chain, 3)
    assert found is not None
    assert weigh(chain, found, 3)[0] == pytest.approx(best_of_all(chain, 3)[0])
