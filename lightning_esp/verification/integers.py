"""Proofs 2 and 3: what crosses a file agrees on both sides, and all ways to run the integers give the same values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np

from lightning_esp.espdl import EspdlInterpreter, read_espdl
from lightning_esp.quantization import Array, QuantizedModel, find_wiring_faults
from lightning_esp.simulation import find_file_faults
from lightning_esp.verification.proof import Proof

Results = Sequence[Mapping[str, Array]]


def boundaries(quantized: QuantizedModel, results: Results = ()) -> Proof:
    """Proof 2: names, shapes, dtypes, exponents, layouts and chip, read from the files; layouts, against a run as well.

    Args:
        quantized: the model.
        results: outputs of a run, which must have the shapes that the layouts promise.
    """
    wrong = [
        *_file_mismatches(quantized),
        *_note_mismatches(quantized),
        *_native_mismatches(quantized),
        *_layout_mismatches(quantized),
        *_run_mismatches(quantized, results),
    ]
    return Proof(
        "boundaries agree",
        len(wrong),
        0,
        not wrong,
        "; ".join(wrong[:3]),
        "Write the export to an issue of this project: esp-ppq wrote a file that differs from what it recorded.",
    )


def _file_mismatches(quantized: QuantizedModel) -> list[str]:
    wrong = list(find_wiring_faults(quantized.spec, quantized.stages))
    for stage in quantized.stages:
        file = read_espdl(stage.data)
        wrong += find_file_faults(stage, file)
        types = tuple(sorted({operator.type for operator in file.operators}))
        if types != stage.operators:
            wrong.append(f"stage {stage.name!r} has the operators {types}, not {stage.operators}")
    return wrong


def _note_mismatches(quantized: QuantizedModel) -> list[str]:
    """List mismatches of the notes in each file's metadata, which hold what the format has no place for."""
    wrong = []
    for stage in quantized.stages:
        notes = read_espdl(stage.data).metadata
        if notes.get("target") != quantized.target:
            wrong.append(f"stage {stage.name!r} was written for {notes.get('target')!r}, not for {quantized.target!r}")
        layouts = _noted_layouts(notes)
        for tensor in stage.tensors:
            found = layouts.get(tensor.name)
            if found != list(tensor.layout):
                wrong.append(
                    f"stage {stage.name!r}, tensor {tensor.name!r}: layout {found} in the file, {list(tensor.layout)} in the "
                    "manifest"
                )
    return wrong


def _noted_layouts(notes: Mapping[str, str]) -> dict[str, list[int]]:
    try:
        found = json.loads(notes.get("layouts", "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _native_mismatches(quantized: QuantizedModel) -> list[str]:
    """Native caches have no names in the file, so all of a stage are compared at once."""
    wrong = []
    for stage in quantized.stages:
        files = EspdlInterpreter(read_espdl(stage.data), quantized.target)
        operators = [item.node for item in files.instructions if item.cache is not None]
        shapes = [(values.shape, str(values.dtype)) for values in files.initial_state(1).values()]
        found = sorted((*form, node.exponent(node.input(0))) for form, node in zip(shapes, operators, strict=True))
        ours = sorted((tensor.shape, tensor.dtype, tensor.exponent) for tensor in stage.native_caches)
        if found != ours:
            wrong.append(f"stage {stage.name!r} holds the native caches {found}, not {ours}")
    return wrong


def _layout_mismatches(quantized: QuantizedModel) -> list[str]:
    wrong = []
    for stage, file in zip(quantized.spec.stages, quantized.stages, strict=True):
        ports = {port.name: (port.shape, port.time_axis) for port in (*stage.inputs, *stage.outputs)}
        caches: dict[str, tuple[tuple[int, ...], int | None]] = {c.name: (c.shape, None) for c in stage.caches}
        for tensor in file.tensors:
            shape, axis = (ports | caches)[tensor.name]
            turned = tuple(shape[i] for i in tensor.layout)
            time = None if axis is None else tensor.layout.index(axis)
            if (turned, time) != (tensor.shape, tensor.time_axis):
                wrong.append(
                    f"stage {file.name!r}, tensor {tensor.name!r}: torch's {shape} in the layout {tensor.layout} is {turned}, "
                    f"time on axis {time}; the manifest says {tensor.shape}, {tensor.time_axis}"
                )
    return wrong


def _run_mismatches(quantized: QuantizedModel, results: Results) -> list[str]:
    wrong = []
    for stage in quantized.stages if results else ():
        for tensor in stage.outputs:
            shape = results[0][tensor.name].shape[1:]
            if shape != tensor.shape[1:]:
                wrong.append(f"tensor {tensor.name!r}: a run gives {shape}, the manifest says {tensor.shape[1:]}")
    return wrong


def integer_parity(name: str, first: Results, second: Results, steps: int, next_step: str) -> Proof:
    """Proof 3: two ways to compute the same windows.

    Args:
        name: what is compared.
        first: outputs and new caches of consecutive windows.
        second: the same, computed differently.
        steps: by how many steps an int16 value may differ. 0: none differs. Otherwise (`int16_steps`) at most 2 % of the
            values may; those of int8 never.
        next_step: what to try when they differ.
    """
    counts: dict[str, int] = {}
    largest, total, where, exact = 0.0, 0, "", True
    for index, (ours, theirs) in enumerate(zip(first, second, strict=True)):
        # In the order of data flow, so that the first tensor named is where it begins.
        for tensor in (name for name in ours if name in theirs):
            gap = np.abs(ours[tensor].astype(np.float64) - theirs[tensor].astype(np.float64))
            total += gap.size
            if gap.any():
                where = where or f"tensor {tensor!r} from window {index} on"
                counts[tensor] = counts.get(tensor, 0) + int(np.count_nonzero(gap))
                largest = max(largest, float(gap.max()))
                exact &= ours[tensor].dtype == np.int16
    differing, allowed = sum(counts.values()), int(0.02 * total) if steps else 0
    text = (
        f"{where}; largest difference {largest:g} of {steps} steps; {differing} of {total} values" if differing else ""
    )
    passed = total > 0 and differing <= allowed and largest <= steps and exact
    return Proof(name, differing, allowed, passed, text, next_step)
