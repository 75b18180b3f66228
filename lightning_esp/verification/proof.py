"""Proofs of a quantized model, made before anything is written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Proof:
    """One statement that was checked.

    Args:
        name: what was proved.
        figure: what was measured.
        limit: what it may be at most.
        passed: whether it holds.
        where: module path, stage or tensor of the worst figure; empty where nothing differs.
        next_step: what to try when it fails.
        doubt: why a statement that passed is amber: what it leaves unproved, or how near its limit is; empty where it is
            green.
    """

    name: str
    figure: float
    limit: float
    passed: bool
    where: str = ""
    next_step: str = ""
    doubt: str = ""

    @property
    def state(self) -> Literal["green", "amber", "failed"]:
        """`"green"`, `"amber"` (it passed, with a doubt), or `"failed"`."""
        if not self.passed:
            return "failed"
        return "amber" if self.doubt else "green"


def doubts(proofs: Iterable[Proof]) -> tuple[str, ...]:
    """Return the notes on proofs that are amber, by their names."""
    return tuple(f"{proof.name}: {proof.doubt}" for proof in proofs if proof.state == "amber")


@dataclass(frozen=True)
class GoldenAudio:
    """Samples of a golden recording, as from a microphone, and their features.

    Args:
        samples: int16 samples, `[samples]`.
        features: what the front end makes of them, `[frames, bands]`, float32.
    """

    samples: Array
    features: Array


@dataclass(frozen=True)
class Golden:
    """Integers of consecutive windows, in the layout of the files, as the firmware must reproduce them.

    Args:
        inputs: model inputs by name, `[windows, *shape without batch]`.
        outputs: outputs of every stage by name, `[windows, ...]`.
        caches: new value of every cache after each window, by cache name, `[windows, ...]`.
        resets: windows before which the state is reset, since a recording starts there.
        audio: the first of these recordings as audio, where the model listens.
        readings: what the sensor gave in the first of these windows, float32, `[windows, frames, channels]`, where the model
            takes raw readings.
        tolerances: by how many steps an output or a cache (by its own name) may differ on a chip when a window starts from
            the caches given here; empty for a model without GRU and LSTM, which is exact.
    """

    inputs: dict[str, Array]
    outputs: dict[str, Array]
    caches: dict[str, Array]
    resets: tuple[int, ...]
    audio: tuple[GoldenAudio, ...] = ()
    readings: Array | None = None
    tolerances: dict[str, int] = field(default_factory=dict)

    @property
    def windows(self) -> int:
        """Number of windows."""
        return len(next(iter(self.inputs.values())))


@dataclass(frozen=True)
class Verification:
    """The outcome of all proofs for one target, and the golden windows that came out of them.

    Args:
        proofs: all of them; each passed, or `verify` had raised.
        golden: windows for the firmware's self-test.
        notes: facts worth reading that decide nothing.
        float_metrics: metrics of the float offline model, by the name that the user's step logs.
        quantized_metrics: the same of the integer stream.
        analysis: what quantization cost, as plain data; empty where it was not measured.
        precision_search: the precisions that were tried, as plain data; empty where one was given.
        stream_evaluation: figures on the validation streams, as plain data; empty where there were none.
        confusion: decisions in rows and columns, as plain data; empty where none were taken.
    """

    proofs: tuple[Proof, ...]
    golden: Golden = field(repr=False)
    notes: tuple[str, ...] = ()
    float_metrics: dict[str, float] = field(default_factory=dict)
    quantized_metrics: dict[str, float] = field(default_factory=dict)
    analysis: dict[str, Any] = field(default_factory=dict, repr=False)
    precision_search: dict[str, Any] = field(default_factory=dict, repr=False)
    stream_evaluation: dict[str, Any] = field(default_factory=dict, repr=False)
    confusion: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class TaskResult:
    """Results of the user's own validation and test steps on the integer stream (proof 5).

    Args:
        float_metrics: metrics of the float offline model, by the name that the step logs.
        quantized_metrics: the same of the integer stream.
        proofs: what follows from both.
        notes: facts worth reading that decide nothing.
    """

    float_metrics: dict[str, float]
    quantized_metrics: dict[str, float]
    proofs: tuple[Proof, ...] = ()
    notes: tuple[str, ...] = ()
    confusion: dict[str, Any] = field(default_factory=dict, repr=False)
