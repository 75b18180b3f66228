"""`Chip`: how long work takes on a chip, fitted to the public figures in `figures.csv`.

    microseconds = call x operators + dense x lanes + depthwise x lanes + written x bytes

with lanes as in `work.py`. A figure of a kernel that was measured alone holds a constant more, which the fit finds and no
estimate contains: its data were cold. The coefficients are at least zero and minimise the squared relative errors. How
far to trust them: each figure is predicted from a fit to all others (leave one out), and the errors stand beside every
estimate.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import combinations
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from lightning_esp.cost.work import Work

Array = npt.NDArray[Any]

# The chips that figures were published for, the slowest first.
TIMED_CHIPS = ("esp32s3", "esp32p4")

# Megahertz at which ESP-IDF lets them run at most.
MEGAHERTZ = {
    "esp32": 240,
    "esp32c2": 120,
    "esp32c3": 160,
    "esp32c5": 240,
    "esp32c6": 160,
    "esp32p4": 360,
    "esp32s2": 240,
    "esp32s3": 240,
    "esp32s31": 320,
}

REMARKS = {
    "esp32s3": "one of them is of a small streaming model, and the time per operator rests on it",
    "esp32p4": "none of them is of a small streaming model, and the time per operator is the ESP32-S3's in the ratio of the clocks",
}


@dataclass(frozen=True)
class Figure:
    """One public measurement.

    Args:
        name: what was measured.
        alone: it is a kernel by itself, not a model.
        work: what it does.
        microseconds: how long it took, by chip.
        instructions: of a chip without vector instructions; None where nobody counted them.
        source: where it was published.
    """

    name: str
    alone: bool
    work: Work
    microseconds: dict[str, float]
    instructions: float | None
    source: str


@dataclass(frozen=True)
class FitError:
    """Relative errors of figures that were predicted from all others.

    Args:
        figures: how many there are.
        median: half of them are off by no more than this fraction.
        worst: the largest error, as a fraction.
        worst_figure: which figure has it.
        remark: what the figures don't tell.
    """

    figures: int
    median: float
    worst: float
    worst_figure: str
    remark: str

    def __str__(self) -> str:
        return (
            f"leave-one-out over {self.figures} public figures: off by {self.median:.0%} in the median, by {self.worst:.0%} "
            f"at worst ({self.worst_figure}); {self.remark}"
        )


@dataclass(frozen=True)
class Chip:
    """Microseconds that a unit of work takes.

    Args:
        name: the chip.
        call: per operator.
        dense: per lane of an ordinary convolution.
        depthwise: per lane of a depthwise one.
        written: per byte.
        error: how well public figures are predicted.
    """

    name: str
    call: float
    dense: float
    depthwise: float
    written: float
    error: FitError

    def microseconds(self, work: Work) -> float:
        """Estimate the time of the work."""
        return (
            self.call * work.calls
            + self.dense * work.dense
            + self.depthwise * work.depthwise
            + self.written * work.written
        )


def read_figures() -> tuple[Figure, ...]:
    """The public figures that the estimate rests on."""
    return tuple(_parse(read_rows("figures.csv")))


def read_rows(name: str) -> Iterator[dict[str, str]]:
    """Read a table of this folder, by the names of its columns; lines that begin with `#` tell where its figures are from."""
    text = (files(__package__) / name).read_text(encoding="utf-8")
    return csv.DictReader([line for line in text.splitlines() if line and not line.startswith("#")])


def _parse(rows: Iterator[dict[str, str]]) -> Iterator[Figure]:
    for row in rows:
        work = Work(*(int(row[key]) for key in ("calls", "dense", "depthwise", "written")))
        found = {chip: float(row[chip]) for chip in TIMED_CHIPS if row[chip]}
        instructions = float(row["rv32imc"]) if row["rv32imc"] else None
        yield Figure(row["name"], row["kind"] == "kernel", work, found, instructions, row["source"])


@cache
def chip_of(target: str) -> Chip | None:
    """The fitted model of a chip; None where nobody has published figures for it."""
    if target not in TIMED_CHIPS:
        return None
    figures = [figure for figure in read_figures() if target in figure.microseconds]
    # No public figure tells what an operator costs a P4 beside its data. The S3's, in the ratio of the clocks, stands in.
    call = None if target == "esp32s3" else _call_of_s3() * MEGAHERTZ["esp32s3"] / MEGAHERTZ[target]
    per_call, dense, depthwise, written, _ = fit(figures, target, call)
    return Chip(target, per_call, dense, depthwise, written, leave_one_out(figures, target, call))


def reference_chip(*targets: str) -> Chip:
    """The chip to compare parts of a model by, whatever the order of `targets`.

    The first of `TIMED_CHIPS` among them, which is the slower one: a window that keeps to a latency there keeps to it on
    the faster one. Where figures were published for none of them, the ESP32-S3, which has the most.

    Example:
        >>> reference_chip("esp32c2", "esp32p4").name
        'esp32p4'
        >>> reference_chip("esp32p4", "esp32s3").name
        'esp32s3'
    """
    found = chip_of(next((name for name in TIMED_CHIPS if name in targets), TIMED_CHIPS[0]))
    assert found is not None
    return found


def _call_of_s3() -> float:
    chip = chip_of("esp32s3")
    assert chip is not None
    return chip.call


def leave_one_out(figures: Sequence[Figure], target: str, call: float | None = None) -> FitError:
    """Predict each figure from all others."""
    errors: dict[str, float] = {}
    for figure in figures:
        others = [other for other in figures if other is not figure]
        predicted = sum(c * a for c, a in zip(fit(others, target, call), _amounts(figure), strict=True))
        errors[figure.name] = abs(predicted / figure.microseconds[target] - 1)
    worst = max(errors, key=errors.__getitem__)
    return FitError(len(errors), round(median(errors.values()), 3), round(errors[worst], 3), worst, REMARKS[target])


def fit(figures: Sequence[Figure], target: str, call: float | None = None) -> tuple[float, ...]:
    """Fit the coefficients to figures.

    Args:
        figures: figures for the chip.
        target: the chip.
        call: microseconds per operator where they are known; None to fit them, too.

    Returns:
        Microseconds per operator, dense lane, depthwise lane and byte, and per kernel measured alone.
    """
    times = np.array([figure.microseconds[target] for figure in figures])
    amounts = np.array([_amounts(figure) for figure in figures]) / times[:, None]
    wanted = np.ones(len(figures))
    if call is None:
        found = _solve(amounts, wanted)
    else:
        found = np.concatenate([[call], _solve(amounts[:, 1:], wanted - call * amounts[:, 0])])
    # Rounded, so that the last bits of a linear algebra library don't reach a manifest.
    return tuple(float(f"{value:.4g}") for value in found)


def _amounts(figure: Figure) -> list[float]:
    work = figure.work
    return [float(n) for n in (work.calls, work.dense, work.depthwise, work.written, figure.alone)]


def _solve(amounts: Array, wanted: Array) -> Array:
    """Least squares with coefficients of at least zero: the best of all choices of which are zero."""
    count = amounts.shape[1]
    best, least = np.zeros(count), float(np.square(wanted).sum())
    for size in range(1, count + 1):
        for chosen in combinations(range(count), size):
            part = np.linalg.lstsq(amounts[:, chosen], wanted, rcond=None)[0]
            rest = float(np.square(amounts[:, chosen] @ part - wanted).sum())
            if (part >= 0).all() and rest < least:
                best, least = np.zeros(count), rest
                best[list(chosen)] = part
    return best
