"""`write_bundle`: from verified models to an ESP-IDF project on disk."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning_esp.bundle.audio import check_front_end, find_detector, pack_audio, render_audio
from lightning_esp.bundle.bundle import (
    COMPONENT,
    MANIFEST,
    PAGE,
    REPORT,
    Bundle,
    GivenResults,
    Results,
    TargetResult,
)
from lightning_esp.bundle.codec import encode
from lightning_esp.bundle.directory import check_output_dir, replace_directory
from lightning_esp.bundle.failure import remove_failure_note
from lightning_esp.bundle.golden import pack_golden
from lightning_esp.bundle.header import (
    GoldenBytes,
    Names,
    name_parts,
    render_bundled_header,
    render_header,
    render_named_header,
)
from lightning_esp.bundle.manifest import build_manifest, build_report, hash_files, to_json
from lightning_esp.bundle.naming import audio_path, golden_path, partition_label, readings_path, stage_path, target_dir
from lightning_esp.bundle.ownership import find_edits
from lightning_esp.bundle.partitions import (
    MODEL_TABLE,
    OTA_TABLE,
    TABLE,
    UPDATE_TABLE,
    render_model_partitions,
    render_ota_partitions,
    render_partitions,
    render_update_partitions,
)
from lightning_esp.bundle.readings import pack_readings, render_normalization
from lightning_esp.bundle.report import render_report
from lightning_esp.bundle.schema import Manifest, expecting
from lightning_esp.bundle.tensors import check_wiring
from lightning_esp.chips import TARGETS, check_target
from lightning_esp.config import Deployment
from lightning_esp.cost import check_budget
from lightning_esp.errors import BundleError, ProofError
from lightning_esp.options import check_arguments
from lightning_esp.quantization import QuantizedModel
from lightning_esp.resources import find_resource
from lightning_esp.verification import Golden

_log = logging.getLogger(__name__)

# What a build leaves behind where somebody built the project in place.
_LEFTOVERS = {"build", "managed_components", "sdkconfig", "sdkconfig.old", "__pycache__", ".esphome", ".pio"}
_LOCK = "dependencies.lock"  # one for each chip


def write_bundle(
    results: GivenResults,
    output_dir: str | os.PathLike[str],
    deployment: Deployment | None = None,
    *,
    extra_files: Mapping[str, bytes] | None = None,
) -> Bundle:
    """Write an ESP-IDF project with verified models.

    A new bundle appears as a whole. In an older one the model, its manifest and its report are replaced at once or not
    at all; the files around the model are the user's: one that was edited or deleted stays so, and a newer template of
    it lies beside it as `*.new`, which is logged. Files that no export has written stay. The same input gives the same
    bytes.

    Args:
        results: the quantized model and its verification, by target; all of one float model. A `TargetResult` has a
            detector beside them.
        output_dir: a directory that does not exist, is empty, or holds an older bundle.
        deployment: labels, name, and whether golden windows go into the bundle.
        extra_files: further files by their path inside the bundle, which belong to the user as the templates do.

    Returns:
        The bundle as `read_bundle` would return it.

    Raises:
        OutputDirectoryError: `output_dir` is a file, or a directory with something else in it.
        ProofError: a verification holds a proof that did not pass.
        BundleError: the results belong to different models, or their tensors do not fit together.
        BudgetError: a model is estimated over a limit of `deployment.budget`.
    """
    check_arguments(write_bundle, results=results, output_dir=output_dir, deployment=deployment)
    directory = check_output_dir(output_dir)
    deployment = deployment or Deployment()
    found = _settle(results, deployment)
    names = {target: name_parts(result.quantized, deployment.name) for target, result in found.items()}
    manifest = build_manifest(found, names, deployment)
    files = {**read_project(), **(extra_files or {})}
    golden_bytes = {}
    for target, result in found.items():
        golden = result.verification.golden if deployment.golden else None
        made = render_target(result.quantized, golden, names[target], manifest)
        golden_bytes[target] = sum(len(data) for path, data in made.items() if path.endswith(".bin"))
        files.update(made)
    files[REPORT] = to_json(encode(build_report(found, golden_bytes)))
    report = json.loads(files[REPORT])
    files[PAGE] = render_page(json.loads(to_json(encode(manifest))), report)
    files |= {
        TABLE: render_partitions(files),
        MODEL_TABLE: render_model_partitions(files, _label_files(next(iter(names.values())))),
        UPDATE_TABLE: render_update_partitions(files),
        OTA_TABLE: render_ota_partitions(files),
    }
    text = to_json(encode(replace(manifest, files=hash_files(files))))
    for notice in replace_directory(directory, {**files, MANIFEST: text}):
        _log.warning("%s: %s", directory, notice)
    remove_failure_note(directory)
    told = json.loads(text)
    return Bundle(directory, told, report, find_edits(directory, told["files"]))


def render_page(manifest: Mapping[str, Any], report: Mapping[str, Any]) -> bytes:
    """Return the page of a manifest and a report as they stand in their files; of the manifest without `files`.

    Raises:
        BundleError: one of them has another form than an export gives it.
    """
    with expecting(f"{MANIFEST} or {REPORT}"):
        return render_report({**manifest, "files": {}}, report)


def render_target(
    quantized: QuantizedModel, golden: Golden | None, names: Names, manifest: Manifest
) -> dict[str, bytes]:
    """Return the generated files of one target by their path inside the bundle."""
    target, model = quantized.target, names.model
    windows = pack_golden(quantized, golden) if golden is not None else b""
    files = {stage_path(target, model, names.stages[stage.name]): stage.data for stage in quantized.stages}
    audio = pack_audio(golden) if golden is not None else b""
    readings = pack_readings(golden) if golden is not None else b""
    if windows:
        files[golden_path(target, model)] = windows
    if audio:
        files[audio_path(target, model)] = audio
    if readings:
        files[readings_path(target, model)] = readings
    sizes = GoldenBytes(len(windows), len(audio), len(readings))
    texts = {
        "model_config.hpp": render_config(quantized, names, sizes, manifest),
        "bundled_model.hpp": render_bundled_header(model),
        f"{model}.hpp": render_named_header(model),
    }
    return {**files, **{f"{target_dir(target)}/{name}": text.encode() for name, text in texts.items()}}


def render_config(quantized: QuantizedModel, names: Names, golden: GoldenBytes, manifest: Manifest) -> str:
    """Return the text of `model_config.hpp` as the manifest makes it."""
    normalization = render_normalization(manifest.frontend)
    stream_evaluation = render_audio(manifest, quantized.target, golden)
    return render_header(quantized, names, manifest.labels, golden, normalization, stream_evaluation)


def read_project() -> dict[str, bytes]:
    """Return the files of `idf_project` that every bundle shares, by path: all but the reference model.

    Raises:
        BundleError: the project is not there, as in a broken installation.
    """
    root = find_resource("idf_project")
    if not (root / "CMakeLists.txt").is_file():
        raise BundleError(f"the ESP-IDF project is missing at {root}; install lightning-esp again.")
    paths = [path.relative_to(root) for path in sorted(root.rglob("*")) if path.is_file()]
    return {path.as_posix(): (root / path).read_bytes() for path in paths if _is_shared(path)}


def _label_files(names: Names) -> dict[str, str]:
    files = [Path(stage_path("", names.model, identifier)).name for identifier in names.stages.values()]
    return {file: partition_label(names.model, index) for index, file in enumerate(files)}


def _is_shared(path: Path) -> bool:
    inside_model = path.parts[:2] == tuple(COMPONENT.split("/"))
    is_left = path.name.startswith(_LOCK) or _LEFTOVERS & set(path.parts)
    return not is_left and not (inside_model and path.parts[2] in TARGETS)


def _settle(results: GivenResults, deployment: Deployment) -> Results:
    """Check the results, and give each the detector of the deployment where it has none of its own."""
    # The order in which targets were given must not show.
    found = {
        target: result if isinstance(result, TargetResult) else TargetResult(*result)
        for target, result in sorted(results.items())
    }
    _check_results(found)
    for result in found.values():
        if deployment.budget is not None and result.quantized.estimate is not None:
            check_budget(result.quantized.estimate, deployment.budget)
        check_front_end(result.quantized, deployment)
    return {
        target: replace(result, detector=result.detector or find_detector(result.quantized, deployment))
        for target, result in found.items()
    }


def _check_results(results: Results) -> None:
    if not results:
        raise BundleError("write_bundle was given no results; pass {target: (quantized, verification)}.")
    first = next(iter(results.values())).quantized
    for target, result in results.items():
        quantized, verification = result.quantized, result.verification
        check_target(target)
        if quantized.target != target:
            raise BundleError(
                f"results[{target!r}] holds a model for {quantized.target!r}; quantize it for {target!r}."
            )
        if quantized.spec != first.spec:
            raise BundleError(
                f"results[{target!r}] and results[{first.target!r}] come from different float models; write two bundles."
            )
        for proof in verification.proofs:
            if not proof.passed:
                raise ProofError(
                    f"{target}: proof {proof.name!r} measured {proof.figure} with a limit of {proof.limit} at "
                    f"{proof.where or 'the whole model'}; a bundle holds proven models only. {proof.next_step}"
                )
        check_wiring(quantized)
