"""`verify`: all proofs that need no Lightning, and the golden windows that come out of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np
import torch
from torch import nn

from lightning_esp.errors import ProofError
from lightning_esp.quantization.executor import stage_executors, whole_executor
from lightning_esp.quantization.model import QuantizedModel
from lightning_esp.quantization.process import Worker
from lightning_esp.simulation import IntegerPipeline, integer_windows
from lightning_esp.streaming.model import Recordings, StreamingModel, Values, pad_frames
from lightning_esp.streaming.recordings import check_recordings
from lightning_esp.verification.integers import Results, boundaries, integer_parity
from lightning_esp.verification.model import Golden, Proof, Verification
from lightning_esp.verification.parity import float_parity

GOLDEN_WINDOWS = 200
MAX_RECORDINGS = 32


def verify(
    module: nn.Module,
    model: StreamingModel,
    quantized: QuantizedModel,
    recordings: Recordings,
    *,
    worker: Worker | None = None,
) -> Verification:
    """Prove that the files compute what the trained module does.

    Args:
        module: the offline float module.
        model: its streaming form.
        quantized: the files.
        recordings: whole recordings without batch dimension; the first 32 are used, again and again where they hold
            fewer than 200 windows.
        worker: a running esp-ppq process; one is started and ended where none is given.

    Returns:
        The proofs, all of which hold, and the golden windows.

    Raises:
        ProofError: one does not hold; the message says which, by how much, where, and what to try.
        DataError: the recordings do not fit the model.
    """
    recordings = list(recordings[:MAX_RECORDINGS])
    proofs, notes = float_parity(module, model, recordings)
    require(proofs)
    with nullcontext(worker) if worker is not None else Worker() as running:
        integer_proofs, golden = _integers(quantized, recordings, running)
    return Verification(require((*proofs, *integer_proofs)), golden, notes)


def require(proofs: Sequence[Proof]) -> tuple[Proof, ...]:
    """Return the proofs if all hold.

    Raises:
        ProofError: one does not.
    """
    for proof in proofs:
        if not proof.passed:
            raise ProofError(
                f"{proof.name}: {proof.figure:.6g}, but at most {proof.limit:.6g} is allowed. {proof.where}. {proof.next_step}"
            )
    return tuple(proofs)


def _integers(quantized: QuantizedModel, recordings: Recordings, worker: Worker) -> tuple[tuple[Proof, ...], Golden]:
    batch, counts = _batch(quantized, recordings)
    windows = integer_windows(quantized, batch)
    stages = IntegerPipeline(quantized.stages, stage_executors(worker, quantized))
    pipelined = stages.run(windows)
    whole = _run_whole(quantized, windows, worker)
    alone = stages.run([{name: value[:1] for name, value in window.items()} for window in windows])
    first = [{name: value[:1] for name, value in result.items()} for result in pipelined]
    precision, cut = quantized.precision, "Keep the stages uncut with Streaming(stages=None), and report the model."
    proofs = (
        boundaries(quantized, pipelined),
        integer_parity(
            "stages equal the uncut model, steps equal the whole recording", pipelined, whole, precision, cut
        ),
        integer_parity(
            "a batch equals single recordings", first, alone, precision, "Report the model: a step mixes them."
        ),
    )
    return proofs, _golden(quantized, windows, pipelined, counts)


def _run_whole(quantized: QuantizedModel, windows: Results, worker: Worker) -> Results:
    state = IntegerPipeline(quantized.stages, stage_executors(worker, quantized)).initial_state(
        len(next(iter(windows[0].values())))
    )
    feedback = {cache.tensor.name: cache.next for stage in quantized.stages for cache in stage.caches}
    return whole_executor(worker, quantized).run([{**windows[0], **state}, *windows[1:]], feedback)


def _batch(quantized: QuantizedModel, recordings: Recordings) -> tuple[Values, list[int]]:
    """Recordings as one batch, filled up with zeros to the longest, and the windows of each."""
    spec = quantized.spec
    checked = check_recordings(spec, recordings)
    longest = max(frames for _, frames in checked)
    batch: Values = {}
    for port in spec.inputs:
        parts = [values[port.name] for values, _ in checked]
        if port.time_axis is not None:
            parts = [pad_frames(part, port.time_axis, longest) for part in parts]
        batch[port.name] = torch.cat(parts).float()
    return batch, [spec.windows(frames) for _, frames in checked]


def _golden(quantized: QuantizedModel, windows: Results, results: Results, counts: Sequence[int]) -> Golden:
    """Lay the windows of recordings end to end until there are enough."""
    order: list[tuple[int, int]] = []
    resets: list[int] = []
    while len(order) < GOLDEN_WINDOWS:
        for recording, count in enumerate(counts):
            resets.append(len(order))
            order += [(index, recording) for index in range(count)]
            if len(order) >= GOLDEN_WINDOWS:
                break
    inputs = {name: np.stack([windows[i][name][r] for i, r in order]) for name in windows[0]}
    values = {name: np.stack([results[i][name][r] for i, r in order]) for name in results[0]}
    next_names = {cache.next: cache.name for cache in quantized.spec.caches}
    caches = {next_names[name]: value for name, value in values.items() if name in next_names}
    outputs = {name: value for name, value in values.items() if name not in next_names}
    return Golden(inputs, outputs, caches, tuple(resets))
