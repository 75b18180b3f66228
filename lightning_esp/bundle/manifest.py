"""`manifest.json` and `report.json` of an export."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import lightning_esp
from lightning_esp.bundle.audio import find_events, mark_events
from lightning_esp.bundle.bundle import SCHEMA, Results, TargetResult
from lightning_esp.bundle.codec import decode
from lightning_esp.bundle.entries import describe_stage, describe_stream
from lightning_esp.bundle.header import Names
from lightning_esp.bundle.naming import stage_path
from lightning_esp.bundle.ownership import sha256
from lightning_esp.bundle.schema import (
    EstimateEntry,
    FrontEndEntry,
    Manifest,
    MetricsEntry,
    NormalizeEntry,
    ProofEntry,
    Report,
    SizesEntry,
    StageCost,
    TargetEntry,
    TargetMetricsEntry,
    TargetProofEntry,
    TargetReport,
)
from lightning_esp.bundle.tensors import tensor_bytes
from lightning_esp.config import Deployment
from lightning_esp.cost import Estimate
from lightning_esp.verification import Proof
from lightning_esp.versions import ESP_DL, ESP_IDF


def build_manifest(results: Results, names: Mapping[str, Names], deployment: Deployment) -> Manifest:
    """Return the manifest with no `files`, which are known once everything else is written."""
    first = next(iter(results.values()))
    return Manifest(
        schema=SCHEMA,
        name=deployment.name,
        versions=_versions(results),
        streaming=describe_stream(first.quantized.spec),
        targets={target: _target(found, names[target], deployment.golden) for target, found in results.items()},
        metrics=MetricsEntry(
            first.verification.float_metrics,
            {target: found.verification.quantized_metrics for target, found in results.items()},
        ),
        proofs=tuple(
            TargetProofEntry(**vars(_proof(proof)), target=target)
            for target, found in results.items()
            for proof in found.verification.proofs
        ),
        labels=tuple(deployment.labels or ()),
        files={},
        budget=deployment.budget,
        frontend=decode(FrontEndEntry | NormalizeEntry | None, deployment.frontend),
    )


def build_report(results: Results, golden_bytes: Mapping[str, int]) -> Report:
    """Return the figures of an export, target by target; `golden_bytes` is the size of the golden files of each."""
    return Report(SCHEMA, {target: _report(result, golden_bytes[target]) for target, result in results.items()})


def summarize_listening(stream_evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rates of every network on the validation streams, without curves and snippet."""
    if not stream_evaluation:
        return {}
    kept = ("false_accepts", "keywords", "confused", "false_rejects", "latency", "det_area", "recall")
    networks = {name: {key: found[key] for key in kept} for name, found in stream_evaluation["networks"].items()}
    return {"networks": networks, "streams": stream_evaluation["streams"]}


def hash_files(files: Mapping[str, bytes]) -> dict[str, str]:
    """Return the SHA-256 of every file by its path inside the bundle."""
    return {path: sha256(data) for path, data in sorted(files.items())}


def to_json(values: Mapping[str, Any]) -> bytes:
    """Return sorted, indented JSON, the same bytes for the same values."""
    return (json.dumps(values, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n").encode()


def _versions(results: Results) -> dict[str, str]:
    found = {"esp-dl": ESP_DL, "esp-idf": ESP_IDF}
    for result in results.values():
        found.update(result.quantized.versions)
    return {**found, "lightning-esp": lightning_esp.__version__}


def _target(result: TargetResult, names: Names, with_golden: bool) -> TargetEntry:
    model, found, detector = result.quantized, result.verification, result.detector
    order = [cache.name for cache in model.spec.caches]
    return TargetEntry(
        precision=model.precision,
        stages=tuple(
            describe_stage(stage, stage_path(model.target, names.model, names.stages[stage.name]), order)
            for stage in model.stages
        ),
        detector=detector,
        golden_events=() if detector is None or not with_golden else find_events(model, found.golden, detector),
        estimate=None if model.estimate is None else _estimate(model.estimate),
        precision_search=found.precision_search,
        stream_evaluation=summarize_listening(found.stream_evaluation),
    )


def _estimate(estimate: Estimate) -> EstimateEntry:
    """Return the estimated cost. Times are whole microseconds: no estimate is finer."""
    return EstimateEntry(
        kind="an estimate, not a measurement",
        error=None if estimate.error is None else {**asdict(estimate.error), "text": str(estimate.error)},
        window_us=_whole(estimate.window_us),
        step_us=_whole(estimate.step_us),
        step_us_cut_by_count={
            str(count): _whole(estimate.cut_by_count(count)) for count in range(1, max(4, len(estimate.stages)) + 1)
        },
        ram=estimate.ram,
        psram=estimate.psram,
        flash=estimate.flash,
        buffers=estimate.buffers,
        runtime=estimate.runtime,
        stages=tuple(
            StageCost(**{**vars(stage), "microseconds": _whole(stage.microseconds), "layers": len(stage.layers)})
            for stage in estimate.stages
        ),
    )


def _whole(microseconds: float | None) -> int | None:
    return None if microseconds is None else round(microseconds)


def _proof(proof: Proof) -> ProofEntry:
    return ProofEntry(proof.name, proof.figure, proof.limit, proof.passed, proof.state, proof.doubt, proof.where)


def _report(result: TargetResult, golden_bytes: int) -> TargetReport:
    quantized, verification = result.quantized, result.verification
    return TargetReport(
        precision=quantized.precision,
        proofs=tuple(map(_proof, verification.proofs)),
        metrics=TargetMetricsEntry(verification.float_metrics, verification.quantized_metrics),
        notes=verification.notes,
        analysis=mark_events(verification.analysis, result.detector),
        golden_windows=verification.golden.windows,
        bytes=SizesEntry(
            files={stage.name: len(stage.data) for stage in quantized.stages},
            caches=sum(tensor_bytes(tensor) for tensor in quantized.caches.values()),
            golden=golden_bytes,
        ),
        precision_search=verification.precision_search,
        stream_evaluation=verification.stream_evaluation,
        confusion=verification.confusion,
    )
