"""`balance`: parts of a graph are dealt to stages so that the costliest stage is as cheap as can be.

A stage must be contiguous: whatever a part needs is in its own stage or in an earlier one. The parts of the first stages
together are therefore a set that is closed under predecessors. The search goes through chains of such sets, and finds
the best of all of them where a graph has few enough; a graph with more is cut in its order of execution only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Comparing every pair of this many sets takes about a second.
MAX_SETS = 1000

# Sums of the same costs in another order differ in their last bits.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class CrossingTensor:
    """Tensor that one part gives to others.

    Args:
        producer: the part that makes it.
        readers: the parts that read it.
        size: bytes.
    """

    producer: int
    readers: frozenset[int]
    size: int


@dataclass(frozen=True)
class Parts:
    """A graph of parts that are not cut themselves, in an order of execution.

    Args:
        costs: cost of each part.
        needs: for each part, the earlier ones that it reads.
        tensors: what passes between them.
    """

    costs: tuple[float, ...]
    needs: tuple[frozenset[int], ...]
    tensors: tuple[CrossingTensor, ...]

    def cost(self, chosen: int) -> float:
        """Sum over a set, given as bits."""
        return sum(cost for part, cost in enumerate(self.costs) if chosen >> part & 1)

    def crossing(self, done: int) -> int:
        """Bytes that parts in a set give to parts outside it."""
        return sum(
            tensor.size
            for tensor in self.tensors
            if done >> tensor.producer & 1 and any(not done >> reader & 1 for reader in tensor.readers)
        )


def balance(parts: Parts, stages: int) -> tuple[int, ...] | None:
    """Deal parts to stages: the costliest stage first, then the bytes that cross the cuts.

    Args:
        parts: the graph.
        stages: how many stages; each gets a part at least.

    Returns:
        The stage of each part; None where there are fewer parts than stages.

    Example:
        A chain of three parts, the first of which costs as much as the others together:

        >>> chain = Parts((2.0, 1.0, 1.0), (frozenset(), frozenset({0}), frozenset({1})), ())
        >>> balance(chain, 2)
        (0, 1, 1)
    """
    if len(parts.costs) < stages:
        return None
    sets = closed_sets(parts)
    costs = [parts.cost(chosen) for chosen in sets]
    limit = _least_maximum(sets, costs, stages) * (1 + _ROUNDING) + _ROUNDING
    return _fewest_bytes(parts, sets, costs, stages, limit)


def closed_sets(parts: Parts) -> list[int]:
    """All sets that are closed under predecessors, as bits, smaller ones first; only those in order if there are too many."""
    needs = [sum(1 << need for need in found) for found in parts.needs]
    found, layer = [0], {0}
    for _ in parts.costs:
        layer = {
            done | 1 << part
            for done in layer
            for part, need in enumerate(needs)
            if not done >> part & 1 and need & ~done == 0
        }
        found += sorted(layer)
        if len(found) > MAX_SETS:
            return [(1 << count) - 1 for count in range(len(needs) + 1)]
    return found


def _least_maximum(sets: Sequence[int], costs: Sequence[float], stages: int) -> float:
    """Cost of the costliest stage in the best chain of `stages` sets from the empty one to the whole."""
    least = [0.0 if chosen == 0 else float("inf") for chosen in sets]
    for _ in range(stages):
        least = [
            min(
                (
                    max(least[before], costs[index] - costs[before])
                    for before in range(index)
                    if least[before] < float("inf") and sets[before] & ~chosen == 0
                ),
                default=float("inf"),
            )
            for index, chosen in enumerate(sets)
        ]
    return least[-1]


def _fewest_bytes(
    parts: Parts, sets: Sequence[int], costs: Sequence[float], stages: int, limit: float
) -> tuple[int, ...]:
    """The chain with the fewest crossing bytes, none of whose stages costs more than `limit`."""
    crossing = [parts.crossing(chosen) for chosen in sets]
    # For each set the bytes of the best chain so far, and that chain.
    best: dict[int, tuple[int, tuple[int, ...]]] = {0: (0, ())}
    for _ in range(stages):
        after: dict[int, tuple[int, tuple[int, ...]]] = {}
        for index, chosen in enumerate(sets):
            found = [
                (size + crossing[index], (*chain, chosen))
                for before, (size, chain) in best.items()
                if before < index and sets[before] & ~chosen == 0 and costs[index] - costs[before] <= limit
            ]
            if found:
                after[index] = min(found)
        best = after
    chain = best[len(sets) - 1][1]
    return tuple(next(k for k, done in enumerate(chain) if done >> part & 1) for part in range(len(parts.costs)))
