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

    @property
    def name(self) -> str:
        """Name of the setting, in words."""
        return describe(self.precision, self.method, self.equalization, self.int16)

    @property
    def output_snr_db(self) -> float | None:
        """Signal-to-noise ratio of the noisiest output; None: exact, or not known."""
        return decibels(self.noise)

    def to_report(self) -> dict[str, Any]:
        """The same as plain data."""
        # JSON knows neither infinity nor NaN, and no estimate is finer than a microsecond.
        metrics = {key: value if math.isfinite(value) else str(value) for key, value in self.metrics.items()}
        step = None if self.step_us is None else round(self.step_us)
        names = {"name": self.name, "output_snr_db": self.output_snr_db}
        return {**asdict(self), **names, "metrics": metrics, "step_us": step}

    def __str__(self) -> str:
        figures = [f"{self.output_snr_db} dB at the outputs"] if self.output_snr_db is not None else []
        if self.flash is not None:
            figures += [f"flash {self.flash} bytes", f"RAM {self.ram} bytes"]
        if self.step_us is not None:
            figures += [f"{self.step_us:.0f} us a step"]
        told = f" ({', '.join(figures)})" if figures else ""
        return f"{self.name}{told}: {self.outcome}{': ' * bool(self.reason)}{self.reason}"


def describe(precision: str, method: str, equalization: bool, int16: tuple[str, ...]) -> str:
    """Name a way to quantize.

    Example:
        >>> describe("int8", "kl", True, ("head",))
        "int8, kl, equalized, 'head' in int16"
    """
    if precision == "int16":
        return "int16"
    kept = ", ".join(repr(path) for path in int16)
    return ", ".join([precision, method, *["equalized"] * equalization, *([f"{kept} in int16"] if kept else [])])


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

    def conclude(self, candidates: Sequence[Candidate]) -> PrecisionSearch:
        """Add all candidates, here and to the verification as plain data."""
        tolerance = self.setting.tolerance
        told = {
            "tolerance": tolerance if math.isfinite(tolerance) else str(tolerance),
            "candidates": [candidate.to_report() for candidate in candidates],
        }
        return replace(
            self, candidates=tuple(candidates), verification=replace(self.verification, precision_search=told)
        )
