"""`convert`: a module becomes a `StreamingModel`, by its own contract, stage by stage, or automatically."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from lightning_esp.chips import check_target
from lightning_esp.config import Streaming
from lightning_esp.conversion.admission import admit
from lightning_esp.conversion.axes import name_axis, resolve_time
from lightning_esp.conversion.boundary import own_errors
from lightning_esp.conversion.calling import argument_names, call
from lightning_esp.conversion.clip_choice import cut_clip, lost_time
from lightning_esp.conversion.clips import check_runs, convert_clip
from lightning_esp.conversion.conversion import convert_offline, record
from lightning_esp.conversion.exact_weights import make_exactly, refresh
from lightning_esp.conversion.example import name_example
from lightning_esp.conversion.front_ends import refuse_spectra
from lightning_esp.conversion.geometry import Geometry, as_tuple, probe
from lightning_esp.conversion.handwritten import Draft, draft_contract, has_contract
from lightning_esp.conversion.partition import partition
from lightning_esp.conversion.spec import Port, Recording, Stage, StreamSpec, Values
from lightning_esp.conversion.streaming_model import StreamingModel
from lightning_esp.conversion.structure import Structure, keep, make_structure, unkept
from lightning_esp.conversion.time_dependence import look_ahead
from lightning_esp.conversion.window import choose_window, convert_within
from lightning_esp.cost import Chip, reference_chip
from lightning_esp.errors import ConfigurationError, ConversionError, NotCausalError
from lightning_esp.options import check_arguments


def convert(
    module: nn.Module, example: Recording, streaming: Streaming | None = None, *, targets: Sequence[str] = ()
) -> StreamingModel:
    """Give a module its streaming form.

    A module with a hand-written `streaming_forward` keeps it; any other is converted automatically, or refused. The
    module itself is left as it is: the model holds a copy in evaluation mode.

    Args:
        module: maps `[batch, channels, time]` (or another layout with a time axis) to an output per frame.
        example: one recording as `forward` takes it, with a batch dimension of 1 or without; a mapping from argument
            name to tensor where there are several inputs.
        streaming: window, stages and the rest; None for the defaults.
        targets: the chips that it is for, by whose costs `Streaming(stages=2)` cuts and `Streaming(window="auto")` chooses:
            the slowest that public figures exist for, else the ESP32-S3.

    Returns:
        The model that steps window by window.

    Raises:
        ConversionError: the module has no streaming form; the message names the layer and what to change.
        WindowError: the window does not fit the stride or the number of stages, or no window keeps to the latency.
        UnknownTargetError: a target is not a chip that ESP-DL supports.
    """
    check_arguments(convert, streaming=streaming)
    chip = reference_chip(*map(check_target, targets))
    with own_errors(module):
        module = refresh(admit(module))
        keep(module, streaming.outputs if streaming is not None else None)
        inputs = name_example(module, example)
        refuse_spectra(module, inputs)
        options = resolve_time(module, inputs, streaming or Streaming())
        try:
            model = _convert(module, inputs, options, chip)
        except ConversionError as error:
            raise type(error)(name_axis(str(error), inputs, options)) from error.__cause__
        structure = _structure(module, inputs, options)
    return replace(model, spec=replace(model.spec, cache_form=options.caches, structure=structure))


def _structure(module: nn.Module, inputs: Values, streaming: Streaming) -> Structure | None:
    with unkept(module):
        return make_structure(call(module, {name: value.clone() for name, value in inputs.items()}), streaming.outputs)


def _convert(module: nn.Module, inputs: Values, streaming: Streaming, chip: Chip) -> StreamingModel:
    if streaming.latency is not None:

        def make(window: int | None) -> StreamingModel:
            return _convert(module, inputs, replace(streaming, window=window, latency=None), chip)

        return convert_within(streaming.latency, make, streaming.frame_period, chip)
    if isinstance(streaming.stages, list | tuple):
        return _from_paths(module, inputs, streaming, list(streaming.stages))
    if has_contract(module):
        return _from_contract(module, inputs, streaming)
    return _automatic(module, inputs, streaming, chip)


def _automatic(module: nn.Module, inputs: Values, streaming: Streaming, chip: Chip | None = None) -> StreamingModel:
    stages = streaming.stages if isinstance(streaming.stages, int) else 1

    def make(module: nn.Module, inputs: Values) -> StreamingModel:
        model = _convert_any(module, inputs, streaming)
        return partition(model, stages, chip) if stages > 1 else model

    return make_exactly(make, module, inputs)


def _convert_any(module: nn.Module, inputs: Values, streaming: Streaming) -> StreamingModel:
    """Convert a module with an output per frame, or one that decides on clips."""
    if not isinstance(streaming.clip, int):
        try:
            return convert_offline(module, inputs, streaming)
        except ConversionError:
            frames = None if streaming.clip is None else lost_time(module, inputs, streaming)
            if frames is None:
                raise
            streaming = replace(streaming, clip=frames)
    clip = cut_clip(inputs, streaming)
    return check_runs(convert_clip(record(module, clip, streaming, clip=True), streaming), clip)


def _input_ports(inputs: Values, streaming: Streaming, window: int) -> tuple[Port, ...]:
    ports = []
    for name, value in inputs.items():
        if (streaming.inputs or {}).get(name) == "held":
            ports.append(Port(name, tuple(value.shape), None))
            continue
        shape = list(value.shape)
        shape[streaming.time_axis or 0] = window
        ports.append(Port(name, tuple(shape), streaming.time_axis))
    return tuple(ports)


def _from_contract(module: nn.Module, inputs: Values, streaming: Streaming) -> StreamingModel:
    geometry = probe(module, inputs, streaming)
    _check_causal(module, inputs, streaming, geometry)
    stages = streaming.stages if isinstance(streaming.stages, int) else 1
    if stages > 1:
        raise ConfigurationError(
            f"Streaming(stages={stages}) cannot cut {type(module).__name__}, since its streaming_forward is hand-written; "
            "give the stages as submodule paths, each with its own streaming_forward."
        )
    window = choose_window(streaming, geometry.stride, 1)
    ports = _input_ports(inputs, streaming, window)
    draft = draft_contract(module, "", "stage_0", ports, "output", next(iter(inputs.values())))
    return _assemble([draft], ports, geometry, window, streaming)


def _from_paths(module: nn.Module, inputs: Values, streaming: Streaming, paths: list[str]) -> StreamingModel:
    parts = [_submodule(module, path) for path in paths]
    geometry = probe(module, inputs, streaming)
    _check_causal(module, inputs, streaming, geometry)
    window = choose_window(streaming, geometry.stride, len(parts))
    ports = _input_ports(inputs, streaming, window)
    like = next(iter(inputs.values()))
    drafts: list[Draft] = []
    first = _first_inputs(parts[0], tuple(inputs))
    given = tuple(next(port for port in ports if port.name == name) for name in first)
    offline = tuple(inputs[name] for name in first)
    for i, (path, part) in enumerate(zip(paths, parts, strict=True)):
        given, offline = _with_model_inputs(part, given, offline, ports, inputs)
        output = "output" if i == len(parts) - 1 else f"{path}.output"
        if has_contract(part):
            drafts.append(draft_contract(part, path, path, given, output, like))
        else:
            drafts.append(_draft_automatic(part, path, given, offline, output, streaming))
        given, offline = drafts[-1].stage.outputs, _offline(part, path, offline)
    return _assemble(drafts, ports, geometry, window, streaming)


def _submodule(module: nn.Module, path: str) -> nn.Module:
    try:
        return module.get_submodule(path)
    except AttributeError:
        known = [name for name, _ in module.named_children()]
        raise ConfigurationError(
            f"Streaming(stages=[... {path!r} ...]) names no submodule of {type(module).__name__}; its children are {known}."
        ) from None


def _first_inputs(part: nn.Module, inputs: tuple[str, ...]) -> tuple[str, ...]:
    # By name where the names agree; else the leading ones, as many as the stage takes.
    names = argument_names(part)
    return names if set(names) <= set(inputs) else inputs[: len(names)]


def _with_model_inputs(
    part: nn.Module, given: tuple[Port, ...], offline: tuple[Tensor, ...], ports: tuple[Port, ...], inputs: Values
) -> tuple[tuple[Port, ...], tuple[Tensor, ...]]:
    # A stage takes the outputs of the one before in order; arguments left over are model inputs by name.
    extra = [name for name in argument_names(part)[len(given) :] if name in inputs]
    by_name = {port.name: port for port in ports}
    return (*given, *(by_name[n] for n in extra)), (*offline, *(inputs[n] for n in extra))


def _offline(part: nn.Module, path: str, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    try:
        with torch.no_grad():
            return as_tuple(part(*inputs))
    except Exception as error:
        raise ConversionError(
            f"stage {path!r} does not run on the output of the stage before it: {type(error).__name__}: {error}. The "
            "stages must follow each other as in forward: the output of one is the input of the next."
        ) from error


def _draft_automatic(
    part: nn.Module, path: str, ports: tuple[Port, ...], offline: tuple[Tensor, ...], output: str, streaming: Streaming
) -> Draft:
    names = argument_names(part)[: len(ports)]
    kinds: dict[str, Literal["stream", "held"]] = {
        n: "held" if p.time_axis is None else "stream" for n, p in zip(names, ports, strict=True)
    }
    first = next(port for port in ports if port.time_axis is not None)
    options = replace(streaming, stages=None, window=first.frames, time_axis=first.time_axis, inputs=kinds)
    try:
        model = _automatic(part, dict(zip(names, offline, strict=True)), options)
    except ConversionError as error:
        raise type(error)(f"stage {path!r}: {error}") from error
    if model.delay:
        raise ConfigurationError(
            f"stage {path!r} delays its output by {model.delay} frames; stages by path must be causal. Give a number of "
            "stages instead, or leave Streaming(lookahead=...) out."
        )
    found = model.spec.stages[0]
    caches = tuple(replace(cache, name=f"{path}.{cache.name}") for cache in found.caches)
    count = len(found.outputs)
    # What a part of a stride lacks would have to be known of the stages before, too.
    outputs = tuple(
        replace(port, name=output if count == 1 else f"{output}_{i}", unlike_last=())
        for i, port in enumerate(found.outputs)
    )
    return Draft(Stage(path, ports, outputs, caches), model.stages[0], *model.exact)


def _assemble(
    drafts: list[Draft], ports: tuple[Port, ...], geometry: Geometry, window: int, streaming: Streaming
) -> StreamingModel:
    outputs = drafts[-1].stage.outputs
    expected = window // geometry.stride * geometry.up
    if outputs[0].frames != expected:
        raise ConversionError(
            f"streaming gives {outputs[0].frames} output frames for a window of {window}, but the offline forward gives "
            f"{expected}; check the strides and the number of cached frames of streaming_forward."
        )
    spec = StreamSpec(
        window=window,
        stride=geometry.stride,
        inputs=ports,
        outputs=outputs,
        stages=tuple(draft.stage for draft in drafts),
        trim=geometry.trim,
        delay=geometry.trim // geometry.stride * geometry.up,
        frame_period=streaming.frame_period,
    )
    exact = tuple(draft.exact for draft in drafts)
    return StreamingModel(spec, tuple(draft.module for draft in drafts), exact=exact)


def _check_causal(module: nn.Module, inputs: Values, streaming: Streaming, geometry: Geometry) -> None:
    frames = look_ahead(module, inputs, streaming, geometry)
    if frames > 0:
        period = streaming.frame_period
        milliseconds = "" if period is None else f" ({frames * period * 1000:g} ms)"
        raise NotCausalError(
            f"forward of {type(module).__name__} looks ahead by {frames} frame(s){milliseconds}: an output frame depends on "
            "input after the end of its stride. Pad only on the left, F.pad(x, ((kernel - 1) * dilation, 0)), and use "
            "Conv1d(padding=0)."
        )
