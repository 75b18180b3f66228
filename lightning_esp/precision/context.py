"""Shared inputs of all candidates of a search, and a candidate as it is quantized."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import nn

from lightning_esp.calibration import CalibrationSet, Progress
from lightning_esp.config import Budget, Quantization
from lightning_esp.conversion import Recordings, StreamingModel
from lightning_esp.cost import Estimate, check_budget
from lightning_esp.precision.candidate import Candidate, Outcome
from lightning_esp.quantization import Exponents, QuantizedModel, Worker
from lightning_esp.verification import Offline, Proof, TaskResult, Verification, prove_graph, prove_integers

OVER_BUDGET = "over the budget"
OVER_TIME = "not tried: the time was over"


@dataclass(frozen=True, kw_only=True)
class SearchContext:
    """Shared inputs of all candidates.

    Args:
        model: the float model.
        samples: its calibration set.
        recordings: whole recordings without batch dimension, to verify with.
        worker: a running esp-ppq process.
        target: the chip.
        quantization: tolerance, the modules that are in int16 on every candidate, and the method that is tried first.
        budget: limits of the estimate.
        proofs: proofs of the float model, which hold.
        notes: their notes.
        evaluate: judges an integer stream by the user's own metrics.
        offline: what the float network makes of the recordings; None leaves proof 6 out.
        rehearsal: prove structure alone, for weights that are not trained yet.
        progress: called with what is tried, 0 of 1 before and 1 of 1 after it.
        exponents: those that training has fixed for this chip; None: they are calibrated.
    """

    model: StreamingModel
    samples: CalibrationSet = field(repr=False)
    recordings: Recordings = field(repr=False)
    worker: Worker
    target: str
    quantization: Quantization
    budget: Budget | None = None
    proofs: tuple[Proof, ...] = ()
    notes: tuple[str, ...] = ()
    evaluate: Callable[[nn.Module], TaskResult] | None = None
    offline: Offline | None = None
    rehearsal: bool = False
    progress: Progress = lambda phase, done, total: None
    exponents: Exponents | None = None

    def prove(self, quantized: QuantizedModel) -> Verification:
        """Prove what the files of one target compute.

        Raises:
            ProofError: something does not hold.
        """
        proofs = (*self.proofs, *prove_graph(self.model, quantized, self.recordings, self.worker))
        return prove_integers(
            quantized,
            self.recordings,
            self.worker,
            proofs,
            self.notes,
            offline=self.offline,
            rehearsal=self.rehearsal,
        )


@dataclass(frozen=True)
class CandidateResult:
    """A candidate that was quantized, or could not be.

    Args:
        setting: how.
        quantized: the model; None where esp-ppq refused.
        noise: as in `Candidate`.
        reason: why it cannot be chosen, whatever the metrics say; empty where it can.
        seconds: what it took to quantize and measure it.
    """

    setting: Quantization
    quantized: QuantizedModel | None = None
    noise: float | None = None
    reason: str = ""
    seconds: float = 0.0

    @property
    def files(self) -> tuple[bytes, ...]:
        """The bytes of its files."""
        return () if self.quantized is None else tuple(stage.data for stage in self.quantized.stages)

    def end(self, outcome: Outcome, reason: str = "", task: TaskResult | None = None) -> Candidate:
        """Say what became of it."""
        found, cost = self.setting, None if self.quantized is None else self.quantized.estimate
        return Candidate(
            found.precision,
            "minmax" if found.precision == "int16" else found.method,
            found.equalization,
            found.int16 if found.precision == "int8" else (),
            outcome,
            reason,
            self.noise,
            {} if task is None else task.quantized_metrics,
            cost.flash if cost else None,
            cost.ram if cost else None,
            cost.step_us if cost else None,
            self.seconds,
            found.refinement,
        )


def over_budget(estimate: Estimate | None, budget: Budget | None) -> str:
    """Return the limits that an estimate exceeds; empty where the budget holds.

    Raises:
        BudgetError: there is a limit of time, and nobody has published figures for the chip.
    """
    if estimate is None or budget is None:
        return ""
    if budget.step_us is not None and estimate.step_us is None:
        check_budget(estimate, Budget(step_us=budget.step_us))
    limits = {
        "flash": (budget.flash, estimate.flash, "bytes"),
        "RAM": (budget.ram, estimate.ram, "bytes"),
        "step": (budget.step_us, estimate.step_us, "us"),
    }
    over = [
        f"{name} of {found:.0f} {unit}, but {limit:g} allowed"
        for name, (limit, found, unit) in limits.items()
        if limit is not None and found is not None and found > limit
    ]
    return f"{OVER_BUDGET}: {'; '.join(over)}" if over else ""
