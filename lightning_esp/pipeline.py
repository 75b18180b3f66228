"""The pipeline: convert, calibrate, quantize, verify, write the bundle."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from os import PathLike

import torch
from torch import Tensor, nn

from lightning_esp.bundle import Bundle, probe_output_dir, write_bundle
from lightning_esp.calibration import Progress, calibrate
from lightning_esp.config import Calibration, Deployment, Quantization, Streaming, check_target
from lightning_esp.conversion import (
    Recording,
    Recordings,
    StreamingModel,
    admit,
    as_example,
    as_offline,
    check_clips,
    check_kinds,
    check_takes_floats,
    convert,
    keep,
    settle_time,
)
from lightning_esp.detection import Item, Listener, check_detector, make_listener
from lightning_esp.errors import ConfigurationError, DataError, EnvironmentMismatchError
from lightning_esp.front_end_steps import (
    Evaluate,
    add_front_end,
    behind,
    check_frames,
    features_on,
    listen,
    take_front_end,
)
from lightning_esp.frontend import FrontEnd, Normalize
from lightning_esp.options import check_arguments
from lightning_esp.precision import Ground, analyze, climb, compare_state_calibration, name_worst, rank_modules
from lightning_esp.quantization import QuantizedModel, Worker, check_environment, quantize
from lightning_esp.simulation import QuantizedStreaming
from lightning_esp.verification import (
    MAX_RECORDINGS,
    TaskResult,
    Verification,
    compare_reach,
    prove_float,
    require,
    run_offline,
)

_log = logging.getLogger(__name__)


def export(
    module: nn.Module,
    recordings: Recordings,
    output_dir: str | PathLike[str],
    target: str | Sequence[str] = "esp32s3",
    streaming: Streaming | None = None,
    calibration: Calibration | None = None,
    quantization: Quantization | None = None,
    deployment: Deployment | None = None,
    *,
    front_end: FrontEnd | Normalize | None = None,
    evaluate: Evaluate | None = None,
    streams: Iterable[Item] | None = None,
    progress: Progress | None = None,
    rehearsal: bool = False,
) -> Bundle:
    """Turn a trained module into a verified ESP-IDF project.

    Args:
        module: maps a recording to an output per frame; left as it is, on whatever device and in whatever mode.
        recordings: what the module sees, without batch dimension; lengths may differ.
        output_dir: where the bundle goes: a new or empty directory, or an older bundle, whose model is replaced at the end.
            What was edited around the model stays.
        target: one chip or several.
        streaming: window, stages and the rest.
        calibration: how much of the recordings calibrates the quantizer.
        quantization: precision and method; `precision="auto"` finds one for each target.
        deployment: what the bundle holds beside the model.
        front_end: makes features of samples, or a `Normalize` of raw readings. The recordings are these then, the module sees
            the features, the firmware computes them as well, and golden data start at samples (`[samples]` each) or readings.
            None: where the module holds one, first of all, that is taken out of it.
        evaluate: judges the integer stream of a target by the user's own metrics; it gets a module that takes what
            `module` takes, and returns what it returns.
        streams: long recordings with keywords, as `lightning_esp.detection.ValidationStreams` has them; what a detector
            finds in them goes into the report, and `Detector(threshold="auto")` takes its thresholds from them.
        progress: called with a phase, what is done of it, and what there is in all.
        rehearsal: judge structure alone, of weights that are not trained yet: neither accumulators nor noise.

    Raises:
        LightningEspError: the export failed; an older bundle is still there.
    """
    check_arguments(export, module=module, output_dir=output_dir, target=target, streaming=streaming)
    check_arguments(export, quantization=quantization, deployment=deployment, front_end=front_end, evaluate=evaluate)
    targets, wanted, deployment = check_targets(target), quantization or Quantization(), deployment or Deployment()
    check_inputs(recordings, output_dir, deployment, streams is not None)
    notify = progress or (lambda phase, done, total: None)
    module = admit(module).float().cpu()
    keep(module, streaming.outputs if streaming is not None else None)
    if front_end is None and (front_end := take_front_end(module, recordings)) is not None:
        streaming = behind_features(front_end, streaming)
        evaluate = None if evaluate is None else behind(front_end, evaluate)
    heard, deployment = listen(front_end, recordings, deployment, targets)
    recordings = _plain_of(module, features_on(heard, targets[0]) or recordings)
    # The worker imports esp-ppq while the model is converted and calibrated.
    with torch.autocast("cpu", enabled=False), Worker() as worker:
        model, module = stream(module, recordings, streaming, targets, front_end)
        proofs, notes = prove_float(module, model, recordings, wanted.tolerance)
        samples = calibrate(model, recordings, calibration, progress=progress)
        offline = None if rehearsal else run_offline(module, model, recordings, MAX_RECORDINGS, wanted.min_snr_db)
        listener = None if streams is None else make_listener(module, model, streams, deployment, front_end, streaming)
        results: dict[str, tuple[QuantizedModel, Verification]] = {}
        for index, chip in enumerate(targets):
            given = (model, samples, features_on(heard, chip) or recordings, worker, chip, wanted, deployment.budget)
            ground = Ground(*given, proofs, notes, evaluate, offline, rehearsal, notify)
            quantized, verification, task = make_integers(ground, index, len(targets))
            verification = add_front_end(verification, quantized, heard.get(chip, ()), front_end)
            deployment, verification = judge_streams(listener, quantized, verification, deployment, notify)
            if evaluate is not None:
                verification = judge_task(verification, task, quantized, ground, (index, len(targets)))
            results[chip] = (quantized, verification)
    return write_bundle(results, output_dir, deployment)


def behind_features(front_end: FrontEnd | Normalize, streaming: Streaming | None) -> Streaming | None:
    """Return the options for what is left of a network: features have their time on axis 2, readings where they had it."""
    return replace(streaming or Streaming(), time_axis=2) if isinstance(front_end, FrontEnd) else streaming


def stream(
    module: nn.Module,
    recordings: Recordings,
    streaming: Streaming | None,
    targets: Sequence[str],
    front_end: FrontEnd | Normalize | None,
) -> tuple[StreamingModel, nn.Module]:
    """Convert; return the streaming form with what it must equal on whole recordings."""
    options = tell_time(module, recordings, streaming, front_end)
    model = convert(module, as_example(module, recordings[0]), options, targets=targets)
    check_frames(front_end, model.spec)
    check_clips(model.spec, recordings, options.clip)
    for note in compare_reach(model.spec, recordings):
        _log.warning("lightning_esp: %s", note)
    return model, as_offline(module, model.spec)


def check_inputs(
    recordings: Recordings, output_dir: str | PathLike[str], deployment: Deployment, has_streams: bool
) -> None:
    """Check, before anything is computed, what an export needs.

    Raises:
        LightningEspError: something cannot work.
    """
    check_versions()
    probe_output_dir(output_dir)
    check_kinds(recordings)
    if len(recordings) == 0:
        raise DataError("export got no recordings; give at least one to calibrate and verify the model with.")
    check_detector(deployment, has_streams)


def make_integers(ground: Ground, index: int, count: int) -> tuple[QuantizedModel, Verification, TaskResult | None]:
    """Quantize for one chip, prove it, and measure what it cost.

    Args:
        ground: the float model and what goes with it.
        index: which of the chips it is, for the progress.
        count: how many chips there are.

    Returns:
        The files, their proofs with the analysis, and what the user's steps say of them where a climb asked.
    """
    model, recordings, worker, wanted = ground.model, ground.recordings, ground.worker, ground.quantization
    climbed = climb(ground) if wanted.precision == "auto" else None
    if climbed is not None:
        quantized, verification = climbed.quantized, climbed.verification
    else:
        ground.progress("quantize", index, count)
        quantized = quantize(model, ground.samples, wanted, ground.target, worker=worker)
        ground.progress("quantize", index + 1, count)
        verification = ground.prove(quantized)
    found = analyze(model, quantized, recordings, worker=worker).to_report()
    if climbed is not None and len(climbed.rungs) > 1 and model.spec.caches:
        # Another quantization costs seconds, of which a climb takes many.
        compared = compare_state_calibration(
            model, ground.samples, quantized, recordings, climbed.setting, worker=worker
        )
        found["states"] = compared.to_report()
    return quantized, replace(verification, analysis=found), climbed.task if climbed is not None else None


def tell_time(
    module: nn.Module, recordings: Recordings, streaming: Streaming | None, front_end: FrontEnd | Normalize | None
) -> Streaming:
    """Name the axis of time where the user named none, and the front end or the lengths of the recordings tell it."""
    streaming = streaming or Streaming()
    if not isinstance(front_end, FrontEnd):
        return settle_time(module, recordings, streaming)
    if streaming.latency is not None and streaming.frame_period is None:
        streaming = replace(streaming, frame_period=front_end.config.frame_period)
    if streaming.time_axis is None:
        # It gives `[batch, bands, frames]`.
        return replace(streaming, time_axis=2)
    return settle_time(module, recordings, streaming)


def _plain_of(module: nn.Module, recordings: Recordings) -> list[Recording]:
    check_takes_floats(module, recordings[0])
    return [_plain(recording) for recording in recordings]


def _plain(recording: Recording) -> Recording:
    # Training may run in half precision, in double, or on a GPU; the export is float32 on the CPU.
    if isinstance(recording, Tensor):
        return recording.detach().float().cpu()
    return {name: value.detach().float().cpu() for name, value in recording.items()}


def check_targets(target: str | Sequence[str]) -> tuple[str, ...]:
    """Return the targets as a tuple.

    Raises:
        UnknownTargetError: one is not a chip that ESP-DL supports.
        ConfigurationError: there are none.
    """
    targets = (target,) if isinstance(target, str) else tuple(dict.fromkeys(target))
    if not targets:
        raise ConfigurationError("target=[] names no chip; give one, 'esp32s3' say.")
    return tuple(check_target(name) for name in targets)


def check_versions() -> None:
    """Check the versions of Python and esp-ppq.

    Raises:
        EnvironmentMismatchError: one of them cannot work.
    """
    if not (3, 10) <= sys.version_info[:2] < (3, 13):
        raise EnvironmentMismatchError(
            f"Python {sys.version_info[0]}.{sys.version_info[1]} runs, but esp-ppq supports 3.10 to 3.12; make an "
            "environment with one of these."
        )
    check_environment()


def is_lossy(task: TaskResult, quantized: QuantizedModel) -> bool:
    """Whether a metric fell too far, and int16 could help."""
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


def judge_streams(
    listener: Listener | None,
    quantized: QuantizedModel,
    verification: Verification,
    deployment: Deployment,
    notify: Progress,
) -> tuple[Deployment, Verification]:
    """Add what the networks heard in the validation streams, and the thresholds chosen on them, where there are some."""
    if listener is None:
        return deployment, verification
    judged = listener.judge(QuantizedStreaming(quantized), deployment, notify, quantized.target)
    notes = (*verification.notes, *judged.notes)
    return judged.deployment, replace(verification, listening=judged.report, notes=notes)


def judge_task(
    verification: Verification,
    task: TaskResult | None,
    quantized: QuantizedModel,
    ground: Ground,
    place: tuple[int, int],
) -> Verification:
    """Add what the user's own steps say, with advice where int16 could help.

    Args:
        verification: the proofs so far.
        task: what the steps said already; None: they are asked.
        quantized: the model.
        ground: the float model and what goes with it.
        place: which of how many chips it is, for the progress.

    Raises:
        ProofError: a metric fell by more than the tolerance.
    """
    index, count = place
    ground.progress("evaluate", index, count)
    if task is None:
        assert ground.evaluate is not None
        task = ground.evaluate(QuantizedStreaming(quantized, structured=True))
    ground.progress("evaluate", index + 1, count)
    if is_lossy(task, quantized):
        effects = rank_modules(ground.model, quantized, ground.recordings, worker=ground.worker)
        task = advise(task, name_worst(effects))
    return add_task(verification, task)


def add_task(verification: Verification, task: TaskResult) -> Verification:
    """Add what the user's own steps say.

    Raises:
        ProofError: a metric fell by more than the tolerance.
    """
    return replace(
        verification,
        proofs=(*verification.proofs, *require(task.proofs)),
        notes=(*verification.notes, *task.notes),
        float_metrics=task.float_metrics,
        quantized_metrics=task.quantized_metrics,
        confusion=task.confusion,
    )
