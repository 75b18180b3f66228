"""Proofs 1 to 4 for every form of caches, number of stages, window and family of chips: pairwise here, all with `full`."""

from __future__ import annotations

from itertools import combinations, product

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_esp import Streaming, calibrate, convert, quantize
from lightning_esp.espdl import read_espdl
from lightning_esp.quantization import Worker
from lightning_esp.verification.verify import prove_float, prove_integers
from tests.models.tutorial_tcn import shake

Combination = tuple[str, int, int, str]

CACHES = ("native", "explicit", "auto")
STAGES = (1, 2, 3)
WINDOWS = (1, 3, 8)
TARGETS = ("esp32s3", "esp32p4", "esp32c3")

# One stage runs per frame step, so a window lasts at least as many frames as there are stages.
ALL: list[Combination] = [c for c in product(CACHES, STAGES, WINDOWS, TARGETS) if c[2] >= c[1]]


def pairs_of(combination: Combination) -> set[tuple[int, int, object, object]]:
    """Every two of its choices, and where they stand."""
    return {(i, j, combination[i], combination[j]) for i, j in combinations(range(len(combination)), 2)}


def pairwise(choices: list[Combination]) -> list[Combination]:
    """Few combinations that hold every pair of choices that any of them holds: each time the one with most new pairs."""
    missing = set().union(*map(pairs_of, choices))
    chosen: list[Combination] = []
    while missing:
        best = max(choices, key=lambda combination: len(missing & pairs_of(combination)))
        chosen.append(best)
        missing -= pairs_of(best)
    return chosen


FEW = pairwise(ALL)


class Small(nn.Module):
    """A strideless residual network with dilated depthwise convs, a moving average and a skip past two blocks."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv1d(6, channels, 3)
        self.depthwise = nn.ModuleList(
            nn.Conv1d(channels, channels, 3, dilation=dilation, groups=channels) for dilation in (1, 2)
        )
        self.pointwise = nn.ModuleList(nn.Conv1d(channels, channels, 1) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm1d(channels) for _ in range(2))
        self.head = nn.Conv1d(channels, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(F.pad(x, (2, 0))))
        first = x
        for depthwise, pointwise, norm in zip(self.depthwise, self.pointwise, self.norms, strict=True):
            y = depthwise(F.pad(x, (2 * depthwise.dilation[0], 0)))
            x = F.relu(x + norm(pointwise(y)))
        smooth = F.avg_pool1d(F.pad(x, (3, 0)), 4, stride=1)
        y: Tensor = self.head(smooth + first)
        return y


def prove(combination: Combination, worker: Worker) -> None:
    caches, stages, window, target = combination
    torch.manual_seed(0)
    module, generator = shake(Small()), torch.Generator().manual_seed(1)
    recordings = [torch.randn(6, frames, generator=generator) for frames in (41, 30, 17)]
    options = Streaming(window=window, stages=stages, caches=caches)  # type: ignore[arg-type]
    model = convert(module, recordings[0], options)
    proofs, notes = prove_float(module, model, recordings)
    quantized = quantize(model, calibrate(model, recordings), target=target, worker=worker)
    verification = prove_integers(quantized, recordings, worker, proofs, notes)
    assert all(proof.passed for proof in verification.proofs)
    assert len(verification.proofs) >= 5
    assert len(quantized.stages) == stages
    types = [op.type for stage in quantized.stages for op in read_espdl(stage.data).operators]
    assert "Transpose" not in types
    assert types.count("StreamingCache") == (0 if caches == "explicit" else 4)
    assert types.count("Slice") == (4 if caches == "explicit" else 0)


def test_few_combinations_hold_every_pair() -> None:
    assert len(ALL) == 63
    assert len(FEW) < 16
    assert set().union(*map(pairs_of, FEW)) == set().union(*map(pairs_of, ALL))


@pytest.mark.parametrize("combination", FEW, ids=lambda c: "-".join(map(str, c)))
def test_the_proofs_hold_for_every_pair_of_choices(combination: Combination, worker: Worker) -> None:
    prove(combination, worker)


@pytest.mark.full
@pytest.mark.parametrize("combination", [c for c in ALL if c not in FEW], ids=lambda c: "-".join(map(str, c)))
def test_the_proofs_hold_for_every_combination(combination: Combination, worker: Worker) -> None:
    prove(combination, worker)
