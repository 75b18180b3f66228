"""`verify_bundle`: is what lies in a directory still what was verified when it was exported?"""

from __future__ import annotations

import os
import zlib
from itertools import pairwise

import numpy as np

from lightning_esp.bundle import (
    Bundle,
    GoldenBytes,
    audio_path,
    check_wiring,
    frame_size,
    golden_path,
    input_tensors,
    name_parts,
    read_bundle,
    read_model,
    read_normalize,
    readings_path,
    render_config,
    target_dir,
    unless_replaced,
    unpack_readings,
)
from lightning_esp.espdl import is_sealed
from lightning_esp.inspection.golden import StoredGolden, unpack_golden
from lightning_esp.inspection.lists import check_lists, check_page, is_own
from lightning_esp.options import check_arguments
from lightning_esp.quantization import QuantizedModel
from lightning_esp.simulation import IntegerPipeline, interpret
from lightning_esp.verification import Array, Golden, Proof, Verification, boundaries, gives_integers, memory, require

_NEXT_STEP = "Export again: files and manifest of this bundle are not those of one export."


def verify_bundle(bundle: Bundle | str | os.PathLike[str]) -> dict[str, Verification]:
    """Check a written bundle against itself, without the float model and without esp-ppq.

    Every file of the model has the hash that the manifest states, and the firmware would embed no other; the page is what
    manifest and report make; tensors, layouts and chip of the manifest are those of the `.espdl`
    files; the C++ header is what the manifest makes; and the golden windows, replayed through the files as ESP-DL
    computes them, give every stored output and cache, value for value; and each file holds its own digest, for weights
    that no output shows. A changed weight, exponent or layout is found even where all hashes of the manifest were
    computed anew. The files around the model are the user's: a note says which were edited.

    Args:
        bundle: a bundle, or its directory.

    Returns:
        For each chip, the proofs, all of which hold, and the golden windows.

    Raises:
        BundleError: a file is missing, was changed, or does not fit the manifest.
        EspdlError: an `.espdl` file cannot be read or computed.
        ProofError: files, manifest, header and golden windows do not belong together; the message says where.

    Example:
        >>> verify_bundle("nowhere")
        Traceback (most recent call last):
        lightning_esp.errors.BundleError: ...manifest.json cannot be read (No such file or directory); ...
    """
    check_arguments(verify_bundle, bundle=bundle)
    path = bundle.path if isinstance(bundle, Bundle) else bundle
    return unless_replaced(path, lambda: _verify(read_bundle(path)))


def _verify(bundle: Bundle) -> dict[str, Verification]:
    found = {target: _verify_target(bundle, target) for target in bundle.targets}
    check_lists(bundle)
    check_page(bundle)
    return found


def _verify_target(bundle: Bundle, target: str) -> Verification:
    quantized = read_model(bundle, target)
    check_wiring(quantized)
    proofs = list(require([boundaries(quantized)]))
    files = interpret(quantized)
    proofs += require([memory(files)])
    path = bundle.path / golden_path(target, bundle.name)
    data = path.read_bytes() if path.is_file() else b""
    notes = [f"amber when it was exported, {doubt}" for doubt in bundle.doubts if doubt.startswith(f"{target}: ")]
    if bundle.edits:
        notes.append(f"edited since the export, and not judged: {', '.join(map(str, bundle.edits))}")
    if is_own(bundle):
        proofs += require([_header(bundle, quantized)])
    else:
        notes.append("the header was not compared: another version of lightning-esp wrote it")
    if not data:
        notes.append("nothing was replayed: the bundle holds no golden windows (Deployment(golden=False))")
        return Verification((*proofs, *require([_digests(quantized)])), Golden({}, {}, {}, ()), tuple(notes))
    stored = unpack_golden(quantized, data, str(path))
    proof, caches = _replay(quantized, files, stored)
    found = (proof, *_readings(bundle, quantized, stored), _digests(quantized))
    golden = Golden(stored.inputs, stored.outputs, caches, stored.resets, tolerances=stored.tolerances)
    return Verification((*proofs, *require(found)), golden, tuple(notes))


def _readings(bundle: Bundle, quantized: QuantizedModel, stored: StoredGolden) -> tuple[Proof, ...]:
    """Compare golden readings with the golden inputs; nothing where the model takes no raw readings."""
    normalize = read_normalize(bundle.contents, quantized)
    path = bundle.path / readings_path(quantized.target, bundle.name)
    if normalize is None:
        return ()
    tensor = input_tensors(quantized)[0]
    data = path.read_bytes() if path.is_file() else b""
    readings = unpack_readings(data, str(path), (stored.windows, quantized.spec.window, frame_size(tensor)))
    moments = normalize.mean.tolist(), normalize.factor.tolist()
    return (gives_integers(readings, moments, tensor, stored.inputs[tensor.name], quantized.target),)


def _header(bundle: Bundle, quantized: QuantizedModel) -> Proof:
    path = f"{target_dir(quantized.target)}/model_config.hpp"
    places = (place(quantized.target, bundle.name) for place in (golden_path, audio_path, readings_path))
    sizes = [(bundle.path / place).stat().st_size if (bundle.path / place).is_file() else 0 for place in places]
    text = render_config(quantized, name_parts(quantized, bundle.name), GoldenBytes(*sizes), bundle.contents)
    expected = text.splitlines()
    found = (bundle.path / path).read_text(encoding="utf-8").splitlines()
    lines = [index for index, pair in enumerate(zip(expected, found, strict=False), 1) if pair[0] != pair[1]]
    differing = len(lines) + abs(len(expected) - len(found))
    where = f"{path}, line {lines[0] if lines else min(len(expected), len(found)) + 1}" if differing else ""
    return Proof("the header is what the manifest makes", differing, 0, not differing, where, _NEXT_STEP)


def _digests(quantized: QuantizedModel) -> Proof:
    """A weight may be too small for any output to show it; the digest inside the file shows it all the same."""
    broken = [f"stage {stage.name!r}" for stage in quantized.stages if not is_sealed(stage.data)]
    return Proof("files hold their own digest", len(broken), 0, not broken, ", ".join(broken), _NEXT_STEP)


def _replay(quantized: QuantizedModel, files: IntegerPipeline, stored: StoredGolden) -> tuple[Proof, dict[str, Array]]:
    """Window by window, as the firmware does: state back to its start at a reset, and every value equal."""
    after, differing, where = quantized.feedback, 0, ""
    windows = [{name: v[i : i + 1] for name, v in stored.inputs.items()} for i in range(stored.windows)]
    recordings = pairwise(sorted({0, *stored.resets, stored.windows}))
    results = [outputs for start, end in recordings for outputs in files.run(windows[start:end])]
    caches = {name: [outputs[new][0] for outputs in results] for name, new in after.items()}
    for index, outputs in enumerate(results):
        wrong = {name: int((outputs[name][0] != values[index]).sum()) for name, values in stored.outputs.items()}
        wrong |= {name: int(_checksum(caches[name][index]) != v[index]) for name, v in stored.checksums.items()}
        differing += sum(wrong.values())
        if differing and not where:
            where = f"tensor {next(name for name, count in wrong.items() if count)!r} from window {index} on"
    name = "the files give the golden windows, value for value"
    return Proof(name, differing, 0, not differing, where, _NEXT_STEP), {n: np.stack(v) for n, v in caches.items()}


def _checksum(values: Array) -> int:
    return zlib.crc32(np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<")).tobytes())
