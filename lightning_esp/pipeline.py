"""The pipeline: convert, calibrate, quantize, verify, write the bundle."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from os import PathLike

import torch
from torch import nn

from lightning_esp.bundle import Bundle, TargetResult, probe_output_dir, write_bundle
from lightning_esp.calibration import Progress
from lightning_esp.chips import check_target
from lightning_esp.config import Calibration, Deployment, Quantization, Streaming
from lightning_esp.conversion import (
    Recordings,
    StreamingModel,
    StreamSpec,
    admit,
    as_example,
    as_offline,
    check_clips,
    check_kinds,
    convert,
    keep,
    settle_time,
)
from lightning_esp.detection import Item, StreamEvaluator, check_detector, make_stream_evaluator
from lightning_esp.errors import ConfigurationError, DataError
from lightning_esp.front_end_steps import Evaluate, behind, check_frames, listen, recordings_by_chip, take_front_end
from lightning_esp.frontend import FrontEnd, Normalize, StreamFeatures
from lightning_esp.options import check_arguments
from lightning_esp.precision import SearchContext
from lightning_esp.quantization import Worker
from lightning_esp.quantization_aware import Preparation
from lightning_esp.target_steps import Request, export_target, make_contexts
from lightning_esp.verification import compare_reach
from lightning_esp.versions import check_versions

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
    prepared: Mapping[str, Preparation] | None = None,
) -> Bundle:
    """Turn a trained module into a verified ESP-IDF project.

    Args:
        module: maps a recording to an output per frame; left as it is, on whatever device and in whatever mode.
        recordings: what the module sees, without batch dimension; lengths may differ.
        output_dir: where the bundle goes: a new or empty directory, or an older bundle, whose model is replaced at the end.
            What was edited around the model stays.
        target: one chip or several, in any order. They share the streaming form, with the window and the cut into stages that
            suit the slowest of them; all else each gets as it would alone.
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
            finds in them goes into the report, and `Detector(threshold="auto")` takes the thresholds of each chip from them.
        progress: called with a phase, what is done of it, and what there is in all.
        rehearsal: judge structure alone, of weights that are not trained yet: neither accumulators nor noise.
        prepared: by chip, what quantization-aware training computed with: exponents to take, and integers to give.

    Raises:
        LightningEspError: the export failed; an older bundle is still there.
    """
    check_arguments(export, module=module, output_dir=output_dir, target=target, streaming=streaming)
    check_arguments(export, quantization=quantization, deployment=deployment, front_end=front_end, evaluate=evaluate)
    targets, deployment = check_targets(target), deployment or Deployment()
    check_inputs(recordings, output_dir, deployment, streams is not None)
    module = admit(module).float().cpu()
    keep(module, streaming.outputs if streaming is not None else None)
    if front_end is None:
        front_end, streaming, evaluate = find_front_end(module, recordings, streaming, evaluate)
    stream_features, deployment = listen(front_end, recordings, deployment, targets)
    seen = recordings_by_chip(module, recordings, stream_features, targets)
    request = Request(
        calibration=calibration,
        quantization=quantization or Quantization(),
        budget=deployment.budget,
        evaluate=evaluate,
        progress=progress or (lambda phase, done, total: None),
        rehearsal=rehearsal,
        trained={chip: (found, module) for chip, found in (prepared or {}).items()},
    )
    # The worker imports esp-ppq while the model is converted and calibrated.
    with torch.autocast("cpu", enabled=False), Worker() as worker:
        model, module = stream(module, seen[min(targets)], streaming, targets, front_end)
        request = replace(request, notes=warn_of_reach(model.spec, seen[min(targets)]))
        contexts = make_contexts(module, model, worker, seen, request)
        evaluator = make_stream_evaluator(module, model, streams, deployment, front_end, streaming)
        around = (front_end, evaluator, deployment.detector is not None)
        results = export_targets(contexts, request, stream_features, around)
    return write_bundle(results, output_dir, deployment)


def export_targets(
    contexts: Mapping[str, SearchContext],
    request: Request,
    stream_features: Mapping[str, Sequence[StreamFeatures]],
    around: tuple[FrontEnd | Normalize | None, StreamEvaluator | None, bool],
) -> dict[str, TargetResult]:
    """Export for each chip; `around` is what `export_target` takes for all of them."""
    results = dict[str, TargetResult]()
    for index, (chip, context) in enumerate(contexts.items()):
        place, own = (index, len(contexts)), stream_features.get(chip, ())
        results[chip] = export_target(context, place, own, *around, request.trained.get(chip))
    return results


def find_front_end(
    module: nn.Module, recordings: Recordings, streaming: Streaming | None, evaluate: Evaluate | None
) -> tuple[FrontEnd | Normalize | None, Streaming | None, Evaluate | None]:
    """Take the front end out of a module that starts with one, and fit the options to what is left."""
    front_end = take_front_end(module, recordings)
    if front_end is None:
        return None, streaming, evaluate
    if isinstance(front_end, FrontEnd):
        streaming = replace(streaming or Streaming(), time_axis=2)
    return front_end, streaming, None if evaluate is None else behind(front_end, evaluate)


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
    return model, as_offline(module, model.spec)


def warn_of_reach(spec: StreamSpec, recordings: Recordings) -> tuple[str, ...]:
    """Log, before anything takes long, what the receptive field means for these recordings; return it for the report."""
    notes = compare_reach(spec, recordings)
    for note in notes:
        _log.warning("lightning_esp: %s", note)
    return notes


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
