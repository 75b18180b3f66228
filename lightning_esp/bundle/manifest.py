"""`manifest.json` and `report.json` as plain data."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import lightning_esp
from lightning_esp.bundle.audio import describe_detector, find_events
from lightning_esp.bundle.bundle import SCHEMA, Results, TargetResult
from lightning_esp.bundle.header import Names
from lightning_esp.bundle.naming import stage_path
from lightning_esp.bundle.snippet import mark_events
from lightning_esp.bundle.tensors import cache_tensors, tensor_bytes
from lightning_esp.config import Deployment
from lightning_esp.conversion import Port, StreamSpec
from lightning_esp.cost import Estimate
from lightning_esp.quantization import CacheInfo, QuantizedModel, StageFile, TensorInfo
from lightning_esp.verification import Proof

# Pinned in idf_project/main/idf_component.yml.
ESP_DL_VERSION = "3.3.9"
ESP_IDF_VERSION = ">=5.3"


def build_manifest(results: Results, names: Mapping[str, Names], deployment: Deployment) -> dict[str, Any]:
    """Return the manifest without `files`, which is known once everything else is written."""
    first = next(iter(results.values()))
    return {
        "schema": SCHEMA,
        "name": deployment.name,
        "versions": _versions(results),
        "streaming": _streaming(first.quantized.spec),
        "targets": {
            target: _describe_result(found, names[target], deployment.golden) for target, found in results.items()
        },
        "metrics": {
            "float": _figures(first.verification.float_metrics),
            "quantized": {target: _figures(found.verification.quantized_metrics) for target, found in results.items()},
        },
        "proofs": [
            {"target": target, **_proof(proof)}
            for target, found in results.items()
            for proof in found.verification.proofs
        ],
        "labels": list(deployment.labels or ()),
        "budget": None if deployment.budget is None else asdict(deployment.budget),
        "frontend": deployment.frontend,
    }


def build_report(results: Results, golden_bytes: Mapping[str, int]) -> dict[str, Any]:
    """Return the figures of an export, target by target; `golden_bytes` is the size of the golden files of each."""
    targets = {target: _report(result, golden_bytes[target]) for target, result in results.items()}
    return {"schema": SCHEMA, "targets": targets}


def summarize_listening(stream_evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rates of every network on the validation streams, without curves and snippet."""
    if not stream_evaluation:
        return {}
    kept = ("false_accepts", "keywords", "confused", "false_rejects", "latency", "det_area", "recall")
    networks = {name: {key: found[key] for key in kept} for name, found in stream_evaluation["networks"].items()}
    return {"stream_evaluation": {"networks": networks, "streams": stream_evaluation["streams"]}}


def hash_files(files: Mapping[str, bytes]) -> dict[str, str]:
    """Return the SHA-256 of every file by its path inside the bundle."""
    return {path: sha256(data) for path, data in sorted(files.items())}


def sha256(data: bytes) -> str:
    """Return the SHA-256 of `data` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def to_json(values: Mapping[str, Any]) -> bytes:
    """Return sorted, indented JSON, the same bytes for the same values."""
    return (json.dumps(values, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n").encode()


def _versions(results: Results) -> dict[str, str]:
    found = {"esp-dl": ESP_DL_VERSION, "esp-idf": ESP_IDF_VERSION}
    for result in results.values():
        found.update(result.quantized.versions)
    return {**found, "lightning-esp": lightning_esp.__version__}


def _streaming(spec: StreamSpec) -> dict[str, Any]:
    return {
        "window": spec.window,
        "stride": spec.stride,
        "stages": len(spec.stages),
        "delay": spec.delay,
        "trim": spec.trim,
        "receptive_field": spec.receptive_field,
        "frame_period": spec.frame_period,
        "caches": spec.cache_form,
        "inputs": [{"name": p.name, "kind": "held" if p.time_axis is None else "stream"} for p in spec.inputs],
        "outputs": [port.name for port in spec.outputs],
        "paces": {port.name: pace for port in spec.outputs if (pace := _pace(port))},
        **({"edges": edges} if (edges := {port.name: _edges(port) for port in spec.outputs if _edges(port)}) else {}),
        **({"names": spec.output_names} if spec.output_names else {}),
        **({} if spec.choice is None else {"choice": asdict(spec.choice)}),
        **({} if spec.clip is None else {"clip": asdict(spec.clip)}),
    }


def _pace(port: Port) -> dict[str, int]:
    """Return the stride, trim and delay of an output, where several outputs differ."""
    found = {"stride": port.stride, "trim": port.trim, "delay": port.delay}
    return {name: value for name, value in found.items() if value is not None}


def _edges(port: Port) -> dict[str, Any]:
    """Return which frames at the ends of a recording differ from the offline ones; empty where none do."""
    if not port.unlike_first and not port.unlike_last:
        return {}
    return {"unlike_first": port.unlike_first, "unlike_last": list(port.unlike_last)}


def _describe_result(result: TargetResult, names: Names, with_golden: bool) -> dict[str, Any]:
    model, found, detector = result.quantized, result.verification, result.detector
    return {
        **_target(model, names),
        **({"precision_search": found.precision_search} if found.precision_search else {}),
        "detector": describe_detector(detector),
        "golden_events": [] if detector is None or not with_golden else find_events(model, found.golden, detector),
        **summarize_listening(found.stream_evaluation),
    }


def _target(quantized: QuantizedModel, names: Names) -> dict[str, Any]:
    order = [cache.name for cache in quantized.spec.caches]
    return {
        **({"estimate": _estimate(quantized.estimate)} if quantized.estimate else {}),
        "precision": quantized.precision,
        "stages": [
            _stage(stage, stage_path(quantized.target, names.model, names.stages[stage.name]), order)
            for stage in quantized.stages
        ],
    }


def _stage(stage: StageFile, path: str, order: Sequence[str]) -> dict[str, Any]:
    caches = [_explicit(cache) for cache in stage.caches]
    caches += [{**_cache(tensor), "form": "native"} for tensor in stage.native_caches]
    return {
        "name": stage.name,
        "file": path,
        "sha256": sha256(stage.data),
        "operators": list(stage.operators),
        "inputs": [_tensor(tensor) for tensor in stage.inputs],
        "outputs": [_tensor(tensor) for tensor in stage.outputs],
        "caches": sorted(caches, key=lambda values: order.index(values["name"])),
    }


def _estimate(estimate: Estimate) -> dict[str, Any]:
    """Return the estimated cost, labelled as an estimate. Times are whole microseconds: no estimate is finer."""
    count = len(estimate.stages)
    return {
        "kind": "an estimate, not a measurement",
        "error": None if estimate.error is None else {**asdict(estimate.error), "text": str(estimate.error)},
        "window_us": _whole(estimate.window_us),
        "step_us": _whole(estimate.step_us),
        "step_us_cut_by_count": {str(k): _whole(estimate.cut_by_count(k)) for k in range(1, max(4, count) + 1)},
        "ram": estimate.ram,
        "psram": estimate.psram,
        "flash": estimate.flash,
        "buffers": estimate.buffers,
        "runtime": estimate.runtime,
        "stages": [
            {
                **asdict(replace(stage, layers=())),
                "microseconds": _whole(stage.microseconds),
                "layers": len(stage.layers),
            }
            for stage in estimate.stages
        ],
    }


def _whole(microseconds: float | None) -> int | None:
    return None if microseconds is None else round(microseconds)


def _tensor(tensor: TensorInfo) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "dtype": tensor.dtype,
        "exponent": tensor.exponent,
        "layout": list(tensor.layout),
        "time_axis": tensor.time_axis,
    }


def _explicit(cache: CacheInfo) -> dict[str, Any]:
    return {**_cache(cache.tensor), "form": "explicit", "next": cache.next, "initial": cache.initial}


def _cache(tensor: TensorInfo) -> dict[str, Any]:
    return {**_tensor(tensor), "bytes": tensor_bytes(tensor)}


def _proof(proof: Proof) -> dict[str, Any]:
    return {
        "name": proof.name,
        "figure": _figure(proof.figure),
        "limit": _figure(proof.limit),
        "passed": proof.passed,
        "state": proof.state,
        "doubt": proof.doubt,
        "where": proof.where,
    }


def _report(result: TargetResult, golden_bytes: int) -> dict[str, Any]:
    quantized, verification = result.quantized, result.verification
    return {
        "precision": quantized.precision,
        "proofs": [_proof(proof) for proof in verification.proofs],
        "metrics": {
            "float": _figures(verification.float_metrics),
            "quantized": _figures(verification.quantized_metrics),
        },
        "notes": list(verification.notes),
        "analysis": mark_events(verification.analysis, result.detector),
        **({"precision_search": verification.precision_search} if verification.precision_search else {}),
        **({"stream_evaluation": verification.stream_evaluation} if verification.stream_evaluation else {}),
        **({"confusion": verification.confusion} if verification.confusion else {}),
        "golden_windows": verification.golden.windows,
        "bytes": {
            "files": {stage.name: len(stage.data) for stage in quantized.stages},
            "caches": sum(tensor_bytes(tensor) for tensor in cache_tensors(quantized)),
            "golden": golden_bytes,
        },
    }


def _figures(metrics: Mapping[str, float]) -> dict[str, float | str]:
    return {name: _figure(value) for name, value in metrics.items()}


def _figure(value: float) -> float | str:
    """JSON knows neither infinity nor NaN; they stand as text."""
    return float(value) if math.isfinite(value) else str(float(value))
