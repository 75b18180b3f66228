"""Proof 7: what esp-ppq takes the model for, all quantization off, computes what the streaming form does."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from lightning_esp.conversion import Recordings, StreamingModel, Values, pad_recordings, single_thread, slice_windows
from lightning_esp.quantization import Array, QuantizedModel, Suspect, Worker, graph_outputs, module_path, to_onnx
from lightning_esp.verification.parity import ROUNDINGS
from lightning_esp.verification.proof import Proof

NAME = "esp-ppq's graph equals the streaming form in float32"
LIMIT = 1e-4
RECORDINGS = 8
WINDOWS = 16


@dataclass(frozen=True)
class _Window:
    """Inputs and outputs of a window by name, in float32, and the distance of the outputs from float64."""

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]
    noise: Mapping[str, float]


@dataclass(frozen=True)
class _Worst:
    figure: float = 0.0
    tensor: str = ""
    window: int = 0
    row: int = 0


def graph_parity(model: StreamingModel, quantized: QuantizedModel, recordings: Recordings, worker: Worker) -> Proof:
    """Compare every stage output and every new cache, window by window, each from the state that the stream is in.

    Args:
        model: the streaming form.
        quantized: what esp-ppq made of it. Its graph was rewritten, fused and equalized; its quantization is switched off.
        recordings: without batch dimension; the first 8 are streamed, and up to 16 windows of them compared.
        worker: a running esp-ppq process.

    Returns:
        The proof. A difference is relative to the largest value of the tensor in all windows; where it fails, the first
        operator that differs is named.
    """
    windows = _windows(model, recordings[:RECORDINGS])
    names = list(graph_outputs(model.spec))
    found = worker.call("compute_float", quantized.graph, names, [window.inputs for window in windows])
    worst = _Worst()
    for name in names:
        worst = max(worst, _compare(name, windows, found), key=lambda candidate: candidate.figure)
    passed = worst.figure <= LIMIT
    where = "" if passed else _name(worst, model, quantized, windows, worker)
    return Proof(
        NAME,
        worst.figure,
        LIMIT,
        passed,
        where,
        "Write that module with other layers, and report the model: esp-ppq reads an operator of it as something else.",
    )


@single_thread()
@torch.inference_mode()
def _windows(model: StreamingModel, recordings: Recordings) -> list[_Window]:
    batch, _ = pad_recordings(model.spec, recordings)
    windows = slice_windows(model.spec, batch)
    chosen = set(np.linspace(0, len(windows) - 1, min(WINDOWS, len(windows))).astype(int).tolist())
    double = replace(model, stages=tuple(copy.deepcopy(stage).double().eval() for stage in model.stages))
    kept = []
    for index, (caches, values) in enumerate(model.stream(windows)):
        if index in chosen:
            exact = _step(double, windows[index], caches)
            kept.append(_keep(model, {**windows[index], **caches}, values, exact))
    return kept


def _step(double: StreamingModel, window: Values, caches: Values) -> Values:
    try:
        return double.step_values(
            {n: v.double() for n, v in window.items()}, {n: v.double() for n, v in caches.items()}
        )
    except RuntimeError:
        # A forward that makes float32 tensors of its own: its noise is not known.
        return {}


def _keep(model: StreamingModel, inputs: Values, values: Values, exact: Values) -> _Window:
    names = graph_outputs(model.spec)
    noise = {n: float((values[n] - exact[n]).abs().max()) if n in exact and values[n].numel() else 0.0 for n in names}
    return _Window({n: v.numpy() for n, v in inputs.items()}, {n: values[n].numpy() for n in names}, noise)


def _compare(name: str, windows: Sequence[_Window], found: Sequence[Mapping[str, Array]]) -> _Worst:
    expected = [window.outputs[name] for window in windows]
    if any(
        name not in values or values[name].shape != other.shape for values, other in zip(found, expected, strict=True)
    ):
        return _Worst(float("inf"), name)
    gaps = np.stack([np.abs(values[name] - other) for values, other in zip(found, expected, strict=True)])
    gaps = np.where(np.isnan(gaps), np.inf, gaps).reshape(*gaps.shape[:2], -1).max(axis=2, initial=0.0)
    peak = max(float(np.abs(values).max(initial=0.0)) for values in expected)
    scale = max(peak, ROUNDINGS * max(window.noise[name] for window in windows) / LIMIT)
    window, row = np.unravel_index(gaps.argmax(), gaps.shape)
    gap = float(gaps.max())
    return _Worst(gap and (gap / scale if scale else float("inf")), name, int(window), int(row))


def _name(
    worst: _Worst, model: StreamingModel, quantized: QuantizedModel, windows: Sequence[_Window], worker: Worker
) -> str:
    """Name the first operator that differs, or the output where no operator has the same tensor on both sides."""
    row = slice(worst.row, worst.row + 1)
    window = {name: value[row] for name, value in windows[worst.window].inputs.items()}
    found: Suspect | None = worker.call("find_first_difference", quantized.graph, to_onnx(model), window, LIMIT)
    if found is None:
        return f"tensor {worst.tensor!r} of recording {worst.row}"
    path = module_path(found.operator, [stage.name for stage in model.spec.stages])
    return f"module {path!r}, operator {found.type} ({found.operator}), tensor {found.tensor!r}, recording {worst.row}"
