"""`search_precision`: from int8 to int16, until the user's metrics, the budget and every proof hold."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Sequence
from dataclasses import replace

from lightning_esp.config import Quantization
from lightning_esp.errors import DeviceSafetyError, EspdlError, LightningEspError, ProofError, QuantizationError
from lightning_esp.precision.analysis import name_worst, rank_modules
from lightning_esp.precision.candidate import Candidate, PrecisionSearch, describe
from lightning_esp.precision.context import OVER_BUDGET, OVER_TIME, CandidateResult, SearchContext, over_budget
from lightning_esp.precision.output_noise import decibels, measure_outputs, prepare_reference
from lightning_esp.quantization import QuantizedModel, quantize, traced_once
from lightning_esp.simulation import QuantizedStreaming
from lightning_esp.verification import TaskResult

METHODS = ("kl", "percentile", "mse", "minmax")
REFINEMENTS = ("bias_correction", "adaround", "tqt")
# To run the user's steps is what costs time, and a candidate so much noisier than another one will not be better for them.
PASSED_OVER_DB = 6.0
# So many modules more are in int16 with every step; half of a model in int16 costs hardly less than all of it.
STEPS = (1, 1, 2, 4)

# What one candidate may fail at and another one not.
_REFUSALS = (QuantizationError, DeviceSafetyError, EspdlError, ProofError)


def search_precision(context: SearchContext) -> PrecisionSearch:
    """Try one way to quantize after the other.

    All methods of int8 are quantized and compared by the noise at the outputs; the quietest is judged first. A candidate
    holds if the budget holds, no metric of the user's steps fell by more than the tolerance (without such metrics: the
    noise at every output is at most that share of the signal), and all proofs hold. An infinite tolerance takes the first
    candidate that can be proved.

    Raises:
        ProofError: no candidate holds; the message lists them all with their figures.
        LightningEspError: the first candidate's error, where none could even be quantized.
    """
    with traced_once(context.model):
        return _Search(context).run()


class _Search:
    """One search; keeps the candidates that were tried."""

    def __init__(self, context: SearchContext) -> None:
        self._context = context
        self._started = time.monotonic()
        self._reference = prepare_reference(context.model, context.recordings)
        self._candidates: list[Candidate] = []
        self._errors: list[LightningEspError] = []
        self._rejected: dict[tuple[bytes, ...], str] = {}
        self._noises: dict[tuple[bytes, ...], float] = {}
        self._worst: tuple[str, ...] = ()
        self._found: PrecisionSearch | None = None

    def run(self) -> PrecisionSearch:
        """Try candidates until one holds."""
        attempts = self._compare()
        self._judge_quietest(attempts)
        if self._found is None and any(attempt.quantized for attempt in attempts):
            best = self._refine(min(attempts, key=_loudness))
            self._mix(best)
        if self._found is None:
            whole = replace(self._base, precision="int16")
            self._candidates.append(self._judge(self._attempt(whole)))
        if self._found is None:
            self._give_up()
        assert self._found is not None
        return self._found.conclude(self._candidates, self._context.quantization.search_seconds)

    @property
    def _base(self) -> Quantization:
        return replace(self._context.quantization, precision="int8", search_seconds=None)

    def _is_over(self) -> bool:
        limit = self._context.quantization.search_seconds
        return limit is not None and time.monotonic() - self._started >= limit

    def _compare(self) -> list[CandidateResult]:
        """Quantize to int8 in every way."""
        base = self._base
        if math.isinf(base.tolerance):
            return [self._attempt(base)]
        methods = [base.method, *(method for method in METHODS if method != base.method)]
        attempts: list[CandidateResult] = []
        for method in methods:
            attempts.append(self._attempt_in_time(replace(base, method=method), attempts))  # type: ignore[arg-type]
        best = min(attempts, key=_loudness)
        if best.quantized is not None:
            attempts.append(self._attempt_in_time(replace(best.setting, equalization=True), attempts))
        return attempts

    def _attempt_in_time(self, setting: Quantization, before: Sequence[CandidateResult]) -> CandidateResult:
        if self._is_over() and any(attempt.quantized for attempt in before):
            return CandidateResult(setting, reason=OVER_TIME)
        return self._attempt(setting)

    def _attempt(self, setting: Quantization) -> CandidateResult:
        context, name, began = self._context, _describe(setting), time.monotonic()
        context.progress(f"try {name}", 0, 1)
        try:
            quantized = quantize(context.model, context.samples, setting, context.target, worker=context.worker)
        except _REFUSALS as error:
            self._errors.append(error)
            attempt = CandidateResult(setting, reason=_first_sentence(error))
        else:
            attempt = self._measure(setting, quantized)
        context.progress(f"try {name}", 1, 1)
        return replace(attempt, seconds=time.monotonic() - began)

    def _measure(self, setting: Quantization, quantized: QuantizedModel) -> CandidateResult:
        # Two methods often choose the same exponents.
        files = CandidateResult(setting, quantized).files
        if files not in self._noises:
            found = measure_outputs(quantized, self._reference, self._context.worker)
            self._noises[files] = max(found.values())
        noise = self._noises[files]
        if not math.isfinite(noise):
            return CandidateResult(setting, quantized, reason="outputs that are no finite numbers")
        return CandidateResult(setting, quantized, noise, over_budget(quantized.estimate, self._context.budget))

    def _judge_quietest(self, attempts: Sequence[CandidateResult]) -> None:
        """Judge from the quietest on, and keep the candidates in the order of the ladder."""
        order = sorted(range(len(attempts)), key=lambda index: _loudness(attempts[index]))
        ended: dict[int, Candidate] = {}
        better = attempts[order[0]]
        for index in order:
            attempt = attempts[index]
            far = _behind(attempt, better) > PASSED_OVER_DB
            if attempt.quantized is not None and (self._found is not None or far):
                ended[index] = attempt.end("skipped", attempt.reason or _compare(attempt, better))
                continue
            if attempt.quantized is not None and self._is_over() and self._rejected:
                ended[index] = attempt.end("skipped", attempt.reason or "not judged: the time was over")
                continue
            ended[index] = self._judge(attempt)
            better = attempt if self._found is not None else better
        self._candidates += [ended[index] for index in range(len(attempts))]

    def _judge(self, attempt: CandidateResult) -> Candidate:
        began = time.monotonic()
        ended = self._decide(attempt)
        return replace(ended, seconds=ended.seconds + time.monotonic() - began)

    def _decide(self, attempt: CandidateResult) -> Candidate:
        if attempt.quantized is None or attempt.reason:
            return attempt.end("skipped" if attempt.reason == OVER_TIME else "rejected", attempt.reason)
        if attempt.files in self._rejected:
            return attempt.end("rejected", f"the same files as {self._rejected[attempt.files]}")
        name, task = _describe(attempt.setting), TaskResult({}, {})
        self._context.progress(f"judge {name}", 0, 1)
        try:
            task = self._evaluate(attempt)
            reason = "; ".join(_doubts(task, attempt.noise, self._context.quantization.tolerance))
            if not reason:
                verification = self._context.prove(attempt.quantized)
                self._found = PrecisionSearch(attempt.setting, attempt.quantized, verification, task, ())
                return attempt.end("chosen", task=task)
        except _REFUSALS as error:
            reason = _first_sentence(error)
        finally:
            self._context.progress(f"judge {name}", 1, 1)
        self._rejected[attempt.files] = name
        return attempt.end("rejected", reason, task)

    def _evaluate(self, attempt: CandidateResult) -> TaskResult:
        assert attempt.quantized is not None
        if self._context.evaluate is None:
            return TaskResult({}, {})
        return self._context.evaluate(QuantizedStreaming(attempt.quantized, structured=True))

    def _refine(self, best: CandidateResult) -> CandidateResult:
        """Refine weights and biases in every way, from the quickest on, and return the quietest."""
        plain = best
        for refinement in REFINEMENTS:
            if self._found is not None or self._is_over():
                break
            attempt = self._attempt(replace(plain.setting, refinement=refinement))  # type: ignore[arg-type]
            if attempt.quantized is None or _loudness(attempt) < _loudness(best):
                self._candidates.append(self._judge(attempt))
            else:
                self._candidates.append(attempt.end("skipped", attempt.reason or _compare(attempt, best)))
            best = min(best, attempt, key=_loudness)
        return best

    def _mix(self, best: CandidateResult) -> None:
        """Keep the costliest modules in int16, more of them step by step."""
        if self._found is not None or self._is_over():
            return
        assert best.quantized is not None
        context = self._context
        effects = rank_modules(context.model, best.quantized, context.recordings, worker=context.worker)
        waiting = [effect.module for effect in effects if effect.noise > 0]
        self._worst = name_worst(effects)
        kept = best.setting.int16
        for size in STEPS:
            groups = [_take(waiting, kept, size)]
            # Where none is left the whole model would be int16, which is the next candidate.
            while groups and waiting and self._found is None and not self._is_over():
                group = groups.pop(0)
                attempt = self._attempt(replace(best.setting, int16=(*kept, *group)))
                if attempt.quantized is not None:
                    kept = attempt.setting.int16
                elif len(group) > 1:
                    # One of them cannot be in int16, beside a cut say, which says nothing about the others.
                    groups = [(module,) for module in group]
                self._candidates.append(self._judge(attempt))

    def _give_up(self) -> None:
        if self._errors and len(self._errors) == len(self._candidates):
            raise self._errors[0]
        wanted, lines = self._context.quantization, "".join(f"\n  {candidate}" for candidate in self._candidates)
        raise ProofError(
            f"Quantization(precision='auto', tolerance={wanted.tolerance:g}): none of {len(self._candidates)} candidates holds for "
            f"{self._context.target}.{lines}\n{_advice(self._candidates, self._worst, self._is_over())}"
        )


def _take(waiting: list[str], kept: Sequence[str], size: int) -> tuple[str, ...]:
    """Take the next modules off a list, and leave out what lies inside those that are kept already.

    Example:
        >>> _take(["a", "a.b", "c", "d"], ["e"], 2)
        ('a', 'c')
    """
    taken: list[str] = []
    while waiting and len(taken) < size:
        module = waiting.pop(0)
        if not any(f"{module}.".startswith(f"{path}.") for path in (*kept, *taken)):
            taken.append(module)
    return tuple(taken)


def _doubts(task: TaskResult, noise: float | None, tolerance: float) -> list[str]:
    if task.proofs:
        return [proof.where or proof.name for proof in task.proofs if not proof.passed]
    if noise is not None and noise > tolerance:
        return [f"{decibels(noise)} dB at the outputs, and the tolerance asks for {decibels(tolerance) or math.inf} dB"]
    return []


def _noise(attempt: CandidateResult) -> float:
    return math.inf if attempt.noise is None else attempt.noise


def _loudness(attempt: CandidateResult) -> float:
    """The noise in decibels, to a tenth: less decides nothing, so of two alike the first stays in front."""
    noise = _noise(attempt)
    return round(10 * math.log10(max(noise, 1e-30)), 1)


def _behind(attempt: CandidateResult, best: CandidateResult) -> float:
    ratio = _noise(attempt) / max(_noise(best), 1e-30)
    return 10 * math.log10(ratio) if 0 < ratio < math.inf else 0.0


def _compare(attempt: CandidateResult, better: CandidateResult) -> str:
    """Tell why an attempt is skipped for a better one."""
    if attempt.files == better.files:
        return f"the same files as {_describe(better.setting)}"
    behind, name = _behind(attempt, better), _describe(better.setting)
    return f"{behind:.1f} dB noisier than {name}" if behind >= 0.1 else f"no quieter than {name}"


def _describe(setting: Quantization) -> str:
    return describe(setting.precision, setting.method, setting.equalization, setting.int16, setting.refinement)


def _first_sentence(error: Exception) -> str:
    return re.split(r"\.\s+(?=[A-Z])", str(error).partition("\n")[0])[0].removesuffix(".")


def _advice(candidates: Sequence[Candidate], worst: Sequence[str], over: bool) -> str:
    words = ["The time was over before all were tried: allow more, Quantization(search_seconds=...)."] if over else []
    if any(candidate.reason.startswith(OVER_BUDGET) for candidate in candidates):
        words.append("What is over the budget was not judged: raise the limit, or make the model smaller.")
    if worst:
        words.append(
            f"Half of the noise or more comes from {', '.join(worst)}: look there for weights or activations far larger than the "
            "others, which weight decay or batch norm in training would even out."
        )
    return " ".join([*words, "Calibrate with more recordings, or allow more, Quantization(tolerance=...)."])
