"""The steps of an export for one chip: quantize, prove, measure, evaluate. Nothing here knows of the other chips of a bundle."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from torch import nn

from lightning_esp.bundle import TargetResult
from lightning_esp.calibration import Progress, calibrate
from lightning_esp.config import Budget, Calibration, Quantization
from lightning_esp.conversion import Recording, Recordings, StreamingModel
from lightning_esp.detection import Evaluated, StreamEvaluator
from lightning_esp.front_end_steps import Evaluate, FrontEndProofs, prove_front_end
from lightning_esp.frontend import FrontEnd, Normalize, StreamFeatures
from lightning_esp.precision import (
    PrecisionSearch,
    SearchContext,
    analyze,
    compare_state_calibration,
    name_worst,
    rank_modules,
    search_precision,
)
from lightning_esp.quantization import QuantizedModel, Worker, quantize
from lightning_esp.quantization_aware import Preparation, prove_seen
from lightning_esp.simulation import QuantizedStreaming
from lightning_esp.verification import (
    MAX_RECORDINGS,
    Proof,
    TaskResult,
    Verification,
    doubts,
    finds_keywords,
    prove_float,
    require,
    run_offline,
)

# What quantization-aware training computed with, and the module that it trained.
Trained: TypeAlias = "tuple[Preparation, nn.Module]"


@dataclass(frozen=True, kw_only=True)
class Request:
    """Request for an export, the same for each of its chips.

    Args:
        calibration: how much of the recordings calibrates the quantizer.
        quantization: precision and method.
        budget: limits of the estimate.
        evaluate: judges an integer stream by the user's own metrics.
        progress: called with a phase, what is done of it, and what there is in all.
        rehearsal: judge structure alone.
        notes: facts about the float model that are known already.
        trained: by chip, what quantization-aware training computed with, and the module that it trained.
    """

    calibration: Calibration | None
    quantization: Quantization
    budget: Budget | None
    evaluate: Evaluate | None
    progress: Progress
    rehearsal: bool
    notes: tuple[str, ...] = ()
    trained: Mapping[str, Trained] = field(default_factory=dict)


def make_contexts(
    module: nn.Module, model: StreamingModel, worker: Worker, seen: Mapping[str, list[Recording]], request: Request
) -> dict[str, SearchContext]:
    """Prove and calibrate the float model on what each chip sees, once for all chips that see the same."""
    contexts = dict[str, SearchContext]()
    for chip, recordings in seen.items():
        same = next((context for context in contexts.values() if context.recordings is recordings), None)
        contexts[chip] = (
            make_context(module, model, worker, recordings, chip, request)
            if same is None
            else replace(same, target=chip)
        )
    return contexts


def make_context(
    module: nn.Module,
    model: StreamingModel,
    worker: Worker,
    recordings: Recordings,
    target: str,
    request: Request,
) -> SearchContext:
    """Prove the float model, calibrate it, and run the float network offline.

    Raises:
        ProofError: the streaming form is not the module.
    """
    wanted = request.quantization
    proofs, notes = prove_float(module, model, recordings, wanted.tolerance)
    samples = calibrate(model, recordings, request.calibration, progress=request.progress)
    limits = (MAX_RECORDINGS, wanted.min_snr_db)
    return SearchContext(
        model=model,
        samples=samples,
        recordings=recordings,
        worker=worker,
        target=target,
        quantization=wanted,
        budget=request.budget,
        proofs=proofs,
        notes=(*notes, *request.notes),
        evaluate=request.evaluate,
        offline=None if request.rehearsal else run_offline(module, model, recordings, *limits),
        rehearsal=request.rehearsal,
        progress=request.progress,
    )


def fix_trained(context: SearchContext, preparation: Preparation) -> SearchContext:
    """Return the context of a chip with the exponents that quantization-aware training has fixed for it.

    Trained weights need not be good ones in float, and no noise is too much of a network that was trained with it.
    """
    offline = context.offline
    if offline is not None and offline.min_snr_db is None:
        offline = replace(offline, min_snr_db=-math.inf)
    return replace(context, exponents=preparation.exponents, offline=offline)


def export_target(
    context: SearchContext,
    place: tuple[int, int] = (0, 1),
    stream_features: Sequence[StreamFeatures] = (),
    front_end: FrontEnd | Normalize | None = None,
    evaluator: StreamEvaluator | None = None,
    detects: bool = False,
    trained: Trained | None = None,
) -> TargetResult:
    """Quantize for one chip, prove it, and judge it, whatever other chips there are.

    Args:
        context: the float model, what goes with it, and the chip.
        place: which of how many chips it is, for the progress.
        stream_features: the recordings with their features on this chip.
        front_end: what stands before the network.
        evaluator: judges the integer stream on validation streams, and chooses the thresholds of this chip.
        detects: the bundle has a detector, whether or not there are streams to judge it on.
        trained: what quantization-aware training computed with, and the module that it trained.

    Raises:
        LightningEspError: it cannot be quantized, or something does not hold.
    """
    context = context if trained is None else fix_trained(context, trained[0])
    searched = search_precision(context) if context.quantization.precision == "auto" else None
    quantized, verification = (
        quantize_once(context, place) if searched is None else (searched.quantized, searched.verification)
    )
    if trained is not None:
        seen, note = prove_seen(*trained, quantized, context.recordings)
        require((seen,))
        verification = replace(verification, proofs=(*verification.proofs, seen), notes=(*verification.notes, note))
    analysis = analyze_target(context, quantized, searched)
    front = prove_front_end(verification.golden, quantized, stream_features, front_end)
    evaluated, task = Evaluated(None, {}), TaskResult({}, {})
    if evaluator is not None:
        stream, rehearsal = QuantizedStreaming(quantized), context.rehearsal
        evaluated = evaluator.evaluate(stream, context.progress, context.target, rehearsal)
    if context.evaluate is not None:
        task = evaluate_task(context, quantized, None if searched is None else searched.task, place)
    keywords = (finds_keywords(evaluated.report),) if detects and not context.rehearsal else ()
    require(keywords)
    whole = join_findings(verification, analysis, front, evaluated, task, keywords)
    return TargetResult(quantized, whole, evaluated.settings)


def quantize_once(context: SearchContext, place: tuple[int, int]) -> tuple[QuantizedModel, Verification]:
    """Quantize in the precision that was asked for, and prove what comes of it.

    Raises:
        LightningEspError: it cannot be quantized, or something does not hold.
    """
    index, count = place
    context.progress("quantize", index, count)
    quantized = quantize(
        context.model,
        context.samples,
        context.quantization,
        context.target,
        worker=context.worker,
        exponents=context.exponents,
    )
    context.progress("quantize", index + 1, count)
    return quantized, context.prove(quantized)


def analyze_target(
    context: SearchContext, quantized: QuantizedModel, searched: PrecisionSearch | None
) -> dict[str, Any]:
    """Measure what quantization cost, as plain data; after a search also whether the states were calibrated well."""
    model, recordings, worker = context.model, context.recordings, context.worker
    found = analyze(model, quantized, recordings, worker=worker).to_report()
    if searched is None or len(searched.candidates) < 2 or not model.spec.caches:
        return found
    # Another quantization costs seconds, of which a search takes many.
    compared = compare_state_calibration(model, context.samples, quantized, recordings, searched.setting, worker=worker)
    return {**found, "states": compared.to_report()}


def evaluate_task(
    context: SearchContext, quantized: QuantizedModel, task: TaskResult | None, place: tuple[int, int]
) -> TaskResult:
    """Ask the user's own steps, and advise where int16 could help.

    Args:
        context: the float model and what goes with it.
        quantized: the model.
        task: what the steps said already; None: they are asked.
        place: which of how many chips it is, for the progress.

    Raises:
        ProofError: a metric fell by more than the tolerance.
    """
    index, count = place
    context.progress("evaluate", index, count)
    if task is None:
        assert context.evaluate is not None
        task = context.evaluate(QuantizedStreaming(quantized, structured=True))
    context.progress("evaluate", index + 1, count)
    if is_lossy(task, quantized):
        effects = rank_modules(context.model, quantized, context.recordings, worker=context.worker)
        task = advise(task, name_worst(effects))
    require(task.proofs)
    return task


def is_lossy(task: TaskResult, quantized: QuantizedModel) -> bool:
    """Tell whether a metric fell too far, and int16 could help."""
    return quantized.precision == "int8" and not all(proof.passed for proof in task.proofs)


def advise(task: TaskResult, modules: Sequence[str]) -> TaskResult:
    """Name the modules that cost most in the next step of every proof that failed."""
    paths = "".join(f"{path!r}, " for path in modules).removesuffix(" ")
    advice = (
        f"Half of the noise or more comes from {', '.join(modules)}: keep that in int16, Quantization(int16=({paths}))."
    )
    proofs = tuple(
        proof if proof.passed or not modules else replace(proof, next_step=f"{advice} {proof.next_step}")
        for proof in task.proofs
    )
    return replace(task, proofs=proofs)


def join_findings(
    verification: Verification,
    analysis: dict[str, Any],
    front: FrontEndProofs,
    evaluated: Evaluated,
    task: TaskResult,
    keywords: tuple[Proof, ...],
) -> Verification:
    """Return the verification with what the later steps of an export found, in the order of the steps."""
    return replace(
        verification,
        proofs=(*verification.proofs, *front.proofs, *task.proofs, *keywords),
        golden=front.golden,
        notes=(*verification.notes, *front.notes, *evaluated.notes, *task.notes, *doubts(keywords)),
        float_metrics=task.float_metrics,
        quantized_metrics=task.quantized_metrics,
        analysis=analysis,
        stream_evaluation=evaluated.report,
        confusion=task.confusion,
    )
