"""`Candidate`: one precision that was tried, its figures, and what became of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from lightning_esp.config import Quantization
from lightning_esp.precision.output_noise import decibels
from lightning_esp.quantization import QuantizedModel
from lightning_esp.verification import TaskResult, Verification

Outcome = Literal["chosen", "rejected", "skipped"]


@dataclass(frozen=True)
class Candidate:
    """One way to quantize the model.

    Args:
        precision: `"int8"` or `"int16"`.
        method: calibration algorithm.
        equalization: whether layers were equalized.
        int16: modules in int16 inside an int8 model.
        outcome: `"chosen"`, `"rejected"`, or `"skipped"` where a quieter candidate was judged in its place.
        reason: why it was not chosen.
        noise: power of the noise at the noisiest output as a share of the signal's; None where it could not be quantized.
        metrics: of the user's own steps, where they were run.
        flash: bytes of the files, estimated as all that follows; None where it could not be quantized.
        ram: bytes of activations, caches and buffers.
        step_us: microseconds of the costliest frame step; None for a chip without public figures.
        seconds: what it took to quantize, measure and judge it on this machine.
        refinement: what weights and biases were refined by.
    """

    precision: str
    method: str
    equalization: bool
    int16: tuple[str, ...]
    outcome: Outcome
    reason: str = ""
    noise: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    flash: int | None = None
    ram: int | None = None
    step_us: float | None = None
    seconds: float = 0.0
    refinement: str | None = None

    @property
    def name(self) -> str:
        """Name of the setting, in words."""
        return describe(self.precision, self.method, self.equalization, self.int16, self.refinement)

    @property
    def output_snr_db(self) -> float | None:
        """Signal-to-noise ratio of the noisiest output; None: exact, or not known."""
        return decibels(self.noise)

    def to_report(self, first: Candidate | None = None, timed: bool = False) -> dict[str, Any]:
        """The same as plain data.

        Args:
            first: the candidate that gains are told against; None: no gain.
            timed: tell the seconds, too, which no two exports have in common.
        """
        # JSON knows neither infinity nor NaN, and no estimate is finer than a microsecond.
        metrics = {key: value if math.isfinite(value) else str(value) for key, value in self.metrics.items()}
        step = None if self.step_us is None else round(self.step_us)
        names = {"name": self.name, "output_snr_db": self.output_snr_db}
        told = {**asdict(self), **names, "gain_db": _gain(self, first), "metrics": metrics, "step_us": step}
        return (
            {**told, "seconds": round(self.seconds, 1)} if timed else {k: v for k, v in told.items() if k != "seconds"}
        )

    def __str__(self) -> str:
        figures = [f"{self.output_snr_db} dB at the outputs"] if self.output_snr_db is not None else []
        if self.flash is not None:
            figures += [f"flash {self.flash} bytes", f"RAM {self.ram} bytes"]
        if self.step_us is not None:
            figures += [f"{self.step_us:.0f} us a step"]
        told = f" ({', '.join(figures)})" if figures else ""
        return f"{self.name}{told}: {self.outcome}{': ' * bool(self.reason)}{self.reason}"


def _gain(candidate: Candidate, first: Candidate | None) -> float | None:
    if first is None or not candidate.noise or not first.noise:
        return None
    return round(10 * math.log10(first.noise / candidate.noise), 2)


def describe(
    precision: str, method: str, equalization: bool, int16: tuple[str, ...], refinement: str | None = None
) -> str:
    """Name a way to quantize.

    Example:
        >>> describe("int8", "kl", True, ("head",))
        "int8, kl, equalized, 'head' in int16"
    """
    if precision == "int16":
        return "int16"
    words = [precision, method, *["equalized"] * equalization, *([refinement] if refinement else [])]
    kept = ", ".join(repr(path) for path in int16)
    return ", ".join([*words, *([f"{kept} in int16"] if kept else [])])


@dataclass(frozen=True)
class PrecisionSearch:
    """Result of a search.

    Args:
        setting: what was chosen.
        quantized: the model quantized that way.
        verification: its proofs.
        task: what the user's own steps say of it.
        candidates: all that was tried, in the order of the ladder.
    """

    setting: Quantization
    quantized: QuantizedModel
    verification: Verification
    task: TaskResult
    candidates: tuple[Candidate, ...]

    def conclude(self, candidates: Sequence[Candidate], limit: float | None) -> PrecisionSearch:
        """Add all candidates, here and to the verification as plain data.

        Args:
            candidates: in the order of the ladder.
            limit: seconds that the search was limited to.
        """
        tolerance = self.setting.tolerance
        first = next((candidate for candidate in candidates if candidate.noise is not None), None)
        told = {
            "tolerance": tolerance if math.isfinite(tolerance) else str(tolerance),
            "candidates": [candidate.to_report(first, limit is not None) for candidate in candidates],
            **({} if limit is None else {"search_seconds": limit}),
        }
        return replace(
            self, candidates=tuple(candidates), verification=replace(self.verification, precision_search=told)
        )
