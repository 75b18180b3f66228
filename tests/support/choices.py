"""Choices that random models are made by: of Hypothesis, which can take them back to shrink, or of a seed."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Protocol, TypeVar

from hypothesis import strategies as st

from tests.models.pieces import Maker, Piece, chain

T = TypeVar("T")


# Choices that a piece takes, at most; what is chosen behind them is the simplest.
MOST_CHOICES = 16


class Choices(Protocol):
    """Choices that a model is made by. Of options the first is the simplest, which shrinking leads to."""

    def choice(self, options: Sequence[T]) -> T: ...

    def chance(self, probability: float) -> bool:
        """Tell whether to do what is rather left out."""

    def sequence(self, channels: int, counts: Sequence[int]) -> Piece:
        """Chain as many pieces as one of `counts` says, which rise by ones."""


class _Named:
    """Keeps what was chosen: the makers of all pieces, those within others in brackets."""

    def __init__(self, layers: Sequence[Maker]) -> None:
        self.layers, self.names = layers, list[str]()

    def named(self: Choices, maker: Maker, channels: int) -> Piece:
        around, self.names = self.names, []
        made = maker(self, channels)
        around.append(f"{maker.__name__}({', '.join(self.names)})" if self.names else maker.__name__)
        self.names = around
        return made


class Drawn(_Named):
    """Choices that Hypothesis makes, which shrink to the first option, to what is left out, and to one piece.

    A piece takes its choices from one string of bytes. Bytes come all alike, where Hypothesis likes small numbers, so that
    the last of many options would hardly ever come; and a string can be left out at once, and its piece with it.

    Args:
        draw: of a composite strategy.
        layers: the pieces to choose from, the simplest in front.
    """

    def __init__(self, draw: st.DrawFn, layers: Sequence[Maker]) -> None:
        super().__init__(layers)
        self.draw = draw
        self.left = draw(_strings())

    def number(self) -> int:
        """Below 256."""
        first, self.left = self.left[:1] or bytes(1), self.left[1:]
        return first[0]

    def choice(self, options: Sequence[T]) -> T:
        return options[self.number() * len(options) // 256]

    def chance(self, probability: float) -> bool:
        return self.number() >= 256 * (1 - probability)

    def sequence(self, channels: int, counts: Sequence[int]) -> Piece:
        found = list[Piece]()
        more = True
        while more:
            longer, reached = (sum(count > known for count in counts) for known in (len(found) + 1, len(found)))
            piece, more = self.draw(_links(self, channels, longer / reached))
            found.append(piece)
            channels = piece.channels
        return chain(found)


def _strings() -> st.SearchStrategy[bytes]:
    return st.binary(min_size=MOST_CHOICES, max_size=MOST_CHOICES)


@st.composite
def _links(draw: st.DrawFn, choices: Drawn, channels: int, probability: float) -> tuple[Piece, bool]:
    """A piece, and whether another one follows: one strategy, so that shrinking can leave out any piece, or put a piece
    that another one holds in its place.
    """
    around, choices.left = choices.left, draw(_strings())
    more = choices.chance(probability)
    piece = choices.named(choices.choice(choices.layers), channels)
    choices.left = around
    return piece, more


class Seeded(_Named):
    """Choices that follow from a seed.

    Args:
        seed: what follows from it stays the same.
        layers: the pieces to choose from.
    """

    def __init__(self, seed: int, layers: Sequence[Maker]) -> None:
        super().__init__(layers)
        self._random = Random(seed)

    def choice(self, options: Sequence[T]) -> T:
        return self._random.choice(options)

    def chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def sequence(self, channels: int, counts: Sequence[int]) -> Piece:
        found = list[Piece]()
        for _ in range(counts[0] if len(counts) == 1 else self.choice(counts)):
            found.append(self.named(self.choice(self.layers), found[-1].channels if found else channels))
        return chain(found)
