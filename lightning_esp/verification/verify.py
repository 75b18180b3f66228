"""`verify`: all proofs that need no Lightning, and the golden windows that come out of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from itertools import cycle

import numpy as np
from torch import nn

from lightning_esp.config import Quantization
from lightning_esp.conversion import (
    Recordings,
    StreamingModel,
    as_offline,
    check_kinds,
    copy_module,
    keep,
    keeps,
    pad_recordings,
)
from lightning_esp.errors import EspdlOperatorError, ProofError
from lightning_esp.options import check_arguments
from lightning_esp.quantization import Array, ExecutorStream, QuantizedModel, Worker, with_modules
from lightning_esp.simulation import IntegerPipeline, integer_windows, interpret
from lightning_esp.verification.accumulators import accumulators
from lightning_esp.verification.clips import clips_in_stream
from lightning_esp.verification.device import int16_steps, mac_shifts, memory
from lightning_esp.verification.graph import graph_parity
from lightning_esp.verification.integers import Results, boundaries, integer_parity
from lightning_esp.verification.parity import float_parity
from lightning_esp.verification.proof import Golden, Proof, Verification, doubts
from lightning_esp.verification.reach import compare_reach
from lightning_esp.verification.recurrent import measure_tolerances
from lightning_esp.verification.signal import Offline, follow_float, run_offline

GOLDEN_WINDOWS = 200
MAX_RECORDINGS = 32
TOLERANCE = Quantization().tolerance


def verify(
    module: nn.Module,
    model: StreamingModel,
    quantized: QuantizedModel,
    recordings: Recordings,
    *,
    min_snr_db: float | None = None,
    worker: Worker | None = None,
) -> Verification:
    """Prove that the files compute what the trained module does.

    Args:
        module: the offline float module.
        model: its streaming form.
        quantized: the files.
        recordings: whole recordings without batch dimension; the first 32 are used, again and again where they hold
            fewer than 200 windows.
        min_snr_db: see `Quantization`.
        worker: a running esp-ppq process; one is started and ended where none is given.

    Returns:
        The proofs, all of which hold, and the golden windows. Of those that are amber, `notes` say why.

    Raises:
        ProofError: one does not hold; the message says which, by how much, where, and what to try.
        DataError: the recordings do not fit the model.
    """
    check_arguments(verify, module=module, model=model, quantized=quantized, min_snr_db=min_snr_db, worker=worker)
    check_kinds(recordings)
    if model.spec.structure is not None and not keeps(module):
        module = copy_module(module)
        keep(module, model.spec.structure.names)
    module = as_offline(module, model.spec)
    proofs, notes = prove_float(module, model, recordings)
    offline = run_offline(module, model, recordings, MAX_RECORDINGS, min_snr_db)
    with nullcontext(worker) if worker is not None else Worker() as running:
        proofs = (*proofs, *prove_graph(model, quantized, recordings, running))
        notes = (*notes, *compare_reach(model.spec, recordings))
        return prove_integers(quantized, recordings, running, proofs, notes, offline=offline)


def prove_float(
    module: nn.Module, model: StreamingModel, recordings: Recordings, tolerance: float = TOLERANCE
) -> tuple[tuple[Proof, ...], tuple[str, ...]]:
    """Proof 1, which is the same for every target, and what a stream changes for decisions on clips.

    Args:
        module: the offline module.
        model: its streaming form.
        recordings: without batch dimension.
        tolerance: see `clips_in_stream`.

    Raises:
        ProofError: it does not hold.
    """
    module, used = as_offline(module, model.spec), recordings[:MAX_RECORDINGS]
    proofs, notes = float_parity(module, model, used)
    return (*require(proofs), *clips_in_stream(module, model, used, tolerance)), notes


def prove_graph(
    model: StreamingModel, quantized: QuantizedModel, recordings: Recordings, worker: Worker
) -> tuple[Proof, ...]:
    """Proof 7: esp-ppq quantized the model that it was given.

    Raises:
        ProofError: it does not hold; the message names the first operator that computes something else.
    """
    return require([graph_parity(model, quantized, recordings, worker)])


def prove_integers(
    quantized: QuantizedModel,
    recordings: Recordings,
    worker: Worker,
    before: tuple[Proof, ...] = (),
    notes: tuple[str, ...] = (),
    *,
    offline: Offline | None = None,
    rehearsal: bool = False,
) -> Verification:
    """Proofs 2 to 4, and 6.

    Args:
        quantized: the files.
        recordings: whole recordings without batch dimension.
        worker: a running esp-ppq process.
        before: proofs that hold already.
        notes: their notes.
        offline: what the float network makes of the recordings, from `run_offline`; None leaves proof 6 out.
        rehearsal: prove structure alone, and nothing that depends on the range of weights and activations: of weights
            that are not trained yet it says nothing.

    Returns:
        All proofs; of those that are amber, the notes say why.

    Raises:
        ProofError: one does not hold.
        EspdlOperatorError: ESP-DL has no such operator, or computes it wrongly.
    """
    proofs, golden, results = _integers(quantized, recordings[:MAX_RECORDINGS], worker)
    proofs = (*before, *require(proofs))
    if not rehearsal:
        proofs = (*proofs, *require(accumulators(quantized, recordings)))
    if not rehearsal and offline is not None:
        proofs = (*proofs, *require(follow_float(quantized, offline, results)))
    said = notes if offline is None else (*notes, *offline.notes)
    return Verification(proofs, golden, (*said, *doubts(proofs)))


def require(proofs: Sequence[Proof]) -> tuple[Proof, ...]:
    """Return the proofs if all hold.

    Raises:
        ProofError: one does not.
    """
    for proof in proofs:
        if not proof.passed:
            raise ProofError(
                f"{proof.name}: {proof.figure:.9g}, but at most {proof.limit:.9g} is allowed. {proof.where}. {proof.next_step}"
            )
    return tuple(proofs)


def _integers(
    quantized: QuantizedModel, recordings: Recordings, worker: Worker
) -> tuple[tuple[Proof, ...], Golden, Results]:
    # A file whose tensors are not what they are taken for cannot even run.
    require([boundaries(quantized)])
    batch, lengths = pad_recordings(quantized.spec, recordings)
    counts = [quantized.spec.windows(frames) for frames in lengths]
    windows = integer_windows(quantized, batch)
    files = _interpret(quantized)
    # The executor runs in a process of its own.
    with ThreadPoolExecutor(max_workers=1) as pool:
        graph = pool.submit(ExecutorStream(quantized, worker).run, windows)
        results = files.run(windows)
        alone = files.run([_first(window) for window in windows])
    steps = int16_steps(quantized)
    proofs = (
        boundaries(quantized, results),
        integer_parity(
            "files window by window equal esp-ppq's uncut graph over whole recordings",
            results,
            graph.result(),
            steps,
            "Report the model: esp-ppq wrote something else than it simulates.",
        ),
        integer_parity(
            "a batch equals single recordings",
            [_first(result) for result in results],
            alone,
            0,
            "Report the model: a step mixes recordings.",
        ),
        mac_shifts(quantized),
        memory(files),
    )
    golden = _golden(quantized, windows, results, counts)
    return proofs, replace(golden, tolerances=measure_tolerances(quantized, windows, results)), results


def _interpret(quantized: QuantizedModel) -> IntegerPipeline:
    try:
        return interpret(quantized)
    except EspdlOperatorError as error:
        # The files know the name that torch gave the operator.
        raise EspdlOperatorError(with_modules(str(error), quantized.spec)) from error


def _first(values: Mapping[str, Array]) -> dict[str, Array]:
    return {name: value[:1] for name, value in values.items()}


def _golden(quantized: QuantizedModel, windows: Results, results: Results, counts: Sequence[int]) -> Golden:
    """Lay the windows of recordings end to end until there are enough."""
    order, resets = _lay_end_to_end(counts)
    values = _pick(results, order)
    next_names = {new: cache for cache, new in quantized.feedback.items()}
    caches = {next_names[name]: value for name, value in values.items() if name in next_names}
    outputs = {name: value for name, value in values.items() if name not in next_names}
    return Golden(_pick(windows, order), outputs, caches, resets)


def _lay_end_to_end(counts: Sequence[int]) -> tuple[list[tuple[int, int]], tuple[int, ...]]:
    """Window and recording of each golden window, and where a recording begins."""
    order: list[tuple[int, int]] = []
    resets: list[int] = []
    for recording, count in cycle(enumerate(counts)):
        if len(order) >= GOLDEN_WINDOWS:
            break
        resets.append(len(order))
        order += [(index, recording) for index in range(count)]
    return order, tuple(resets)


def _pick(values: Results, order: Sequence[tuple[int, int]]) -> dict[str, Array]:
    return {name: np.stack([values[index][name][recording] for index, recording in order]) for name in values[0]}
