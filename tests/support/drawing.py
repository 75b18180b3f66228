"""Examples that tests draw: the same each time, and of those that fail the smallest."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, find, given, seed, settings
from hypothesis import strategies as st

T = TypeVar("T")

# Behind so many, Hypothesis makes most examples by copying pieces of earlier ones, so that few are new.
FRESH = 10
# No database: a failure of another checkout says nothing about this one. No deadline: no test asserts on time.
SETTINGS = settings(
    max_examples=FRESH,
    database=None,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


def hold(check: Callable[[T], Any], strategy: st.SearchStrategy[T], count: int, first: int = 0) -> None:
    """Check `count` examples or a few more, the same each time.

    Args:
        check: raises where it fails, with words that are the same for all examples that fail alike.
        strategy: what is drawn.
        count: how many examples.
        first: another number gives other examples.

    Raises:
        Exception: what the check raises for the smallest example that fails, with that example in its notes.
    """

    def example(drawn: T) -> None:
        check(drawn)

    # The first of each part is the simplest there is.
    for part in range(-(-count // (FRESH - 1))):
        seed(first + part)(SETTINGS(given(drawn=strategy)(example)))()


def smallest(strategy: st.SearchStrategy[T], condition: Callable[[T], Any], count: int = 2_000) -> T:
    """The smallest example for which a condition holds, as a failing test would show it.

    Raises:
        hypothesis.errors.NoSuchExample: it holds for none of `count`.
    """
    return find(strategy, condition, settings=settings(SETTINGS, max_examples=count), random=Random(0))
