"""Each architecture does what its row of the table says: the table is changed where the product changes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from lightning_esp.errors import LightningEspError, UnsupportedOperatorError
from lightning_esp.quantization import Worker
from tests.models.proved import prove
from tests.strangers.entry import Exports, Refused, Stranger, T
from tests.strangers.families import STRANGERS
from tests.strangers.table import PAGE, render


def hold(stranger: Stranger, worker: Worker) -> None:
    """Export, and compare with the row."""
    module, recordings, outcome = stranger.module(), stranger.recordings(), stranger.outcome
    options = {"streaming": stranger.streaming, "quantization": stranger.quantization}
    if isinstance(outcome, Exports):
        prove(module, recordings, worker, least_decibels=outcome.decibels, **options)  # type: ignore[arg-type]
        return
    with pytest.raises(LightningEspError) as caught:
        prove(module, recordings, worker, **options)  # type: ignore[arg-type]
    assert type(caught.value) is outcome.error
    assert outcome.reason in str(caught.value)
    assert outcome.remedy in str(caught.value)


def row(stranger: Stranger) -> object:
    # Strict: what starts to be right is written down.
    marks = [pytest.mark.xfail(reason=stranger.wrong, strict=True)] if stranger.wrong else []
    marks += [pytest.mark.slow] if stranger.slow else []
    return pytest.param(stranger, id=stranger.name, marks=marks)


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning")
@pytest.mark.parametrize("stranger", [row(stranger) for stranger in STRANGERS])
def test_a_row_is_true(worker: Worker, stranger: Stranger) -> None:
    hold(stranger, worker)


def test_the_page_is_the_table() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), "run: python -m tests.strangers.table"


def test_there_are_enough_rows_of_either_kind_and_none_twice() -> None:
    assert len({stranger.name for stranger in STRANGERS}) == len(STRANGERS) >= 60
    assert sum(isinstance(s.outcome, Exports) and not s.wrong and not s.slow for s in STRANGERS) >= 40


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(-1, keepdim=True)


SMALL = Stranger("small", lambda: nn.Conv1d(4, 4, 1), (4, T), Exports(10))
MEAN = Stranger(
    "mean", Mean, (4, T), Refused(UnsupportedOperatorError, "runs over all of time", "average the last N frames")
)


@pytest.mark.parametrize(
    "untrue",
    [
        replace(SMALL, outcome=Exports(90)),
        replace(SMALL, outcome=MEAN.outcome),
        replace(MEAN, outcome=Exports(0)),
        replace(MEAN, outcome=Refused(LightningEspError, "all of time", "average")),
        replace(MEAN, outcome=Refused(UnsupportedOperatorError, "all of frequency", "average")),
        replace(MEAN, outcome=Refused(UnsupportedOperatorError, "all of time", "pray")),
    ],
    ids=["noisier", "works", "refused", "other error", "other reason", "other remedy"],
)
def test_a_row_that_is_not_true_fails(worker: Worker, untrue: Stranger) -> None:
    hold(SMALL, worker)
    hold(MEAN, worker)
    with pytest.raises((AssertionError, LightningEspError, pytest.fail.Exception)):
        hold(untrue, worker)


def test_builds_are_the_same_each_time() -> None:
    first, second = (STRANGERS[0].module().state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
