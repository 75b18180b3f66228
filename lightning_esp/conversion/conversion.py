"""Automatic conversion: the offline `forward` becomes a graph that steps, or is refused by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, lcm
from typing import Any

import torch
from torch import Tensor, fx, nn

from lightning_esp.config import Streaming
from lightning_esp.conversion.building import Builder
from lightning_esp.conversion.collecting import UNKNOWN, join_refusals, reads_unknown, stand_in
from lightning_esp.conversion.edges import count_first, count_last
from lightning_esp.conversion.exact_weights import doubled_for
from lightning_esp.conversion.outputs import check_outputs
from lightning_esp.conversion.rules import RULES
from lightning_esp.conversion.rules.common import Rule
from lightning_esp.conversion.rules.refusals import BY_HAND, unknown
from lightning_esp.conversion.spec import Layer, Port, Stage, StreamSpec
from lightning_esp.conversion.stream_tensor import Pending, Refused, StreamTensor, reach
from lightning_esp.conversion.streaming_model import StreamingModel
from lightning_esp.conversion.trace import Call, ForwardTrace, Ref, Varying, flatten, replace_values
from lightning_esp.conversion.tracing import trace
from lightning_esp.conversion.window import choose_window
from lightning_esp.errors import ConversionError, LightningEspError, NotCausalError, UnsupportedOperatorError


@dataclass(frozen=True)
class _Flowed:
    """The streaming graph with its inputs and outputs."""

    build: Builder
    inputs: dict[str, StreamTensor]
    outputs: list[StreamTensor]


def convert_offline(module: nn.Module, inputs: Mapping[str, Tensor], streaming: Streaming) -> StreamingModel:
    """Convert a module that has no streaming form of its own.

    Args:
        module: the offline module, in evaluation mode.
        inputs: example by argument name, a batch dimension of 1 in front.
        streaming: options, with `time_axis` and `inputs` filled in.

    Returns:
        A model of one stage.

    Raises:
        NotCausalError: it looks ahead further than `streaming.lookahead` allows.
        UnsupportedOperatorError: an operator has no streaming form; the message names the module and what to do.
        WindowError: the window does not fit the stride.
    """
    recorded = record(module, inputs, streaming)
    check_outputs(module, recorded, inputs)
    return convert_trace(recorded, streaming)


def record(module: nn.Module, inputs: Mapping[str, Tensor], streaming: Streaming, clip: bool = False) -> ForwardTrace:
    """The first half of `convert_offline`: what `forward` does, for any window; for whole clips with `clip`."""
    kinds = streaming.inputs or {}
    axes = {name: None if kinds.get(name) == "held" else streaming.time_axis for name in inputs}
    with doubled_for(inputs):
        return trace(module, inputs, axes, clip)


def convert_trace(recorded: ForwardTrace, streaming: Streaming) -> StreamingModel:
    """The second half of `convert_offline`."""
    # The stride follows from the rules, and the window from the stride: hence two passes.
    stride = _stride_of(_flow(recorded, None, streaming).build)
    count = streaming.stages if isinstance(streaming.stages, int) else 1
    window = choose_window(streaming, stride, count)
    return _assemble(_flow(recorded, window, streaming), stride, window, streaming)


def _flow(recorded: ForwardTrace, window: int | None, streaming: Streaming) -> _Flowed:
    # The first pass goes through to the end, so that a look-ahead is refused with the frames of the whole model.
    build = Builder(recorded, window, strict=window is not None and streaming.lookahead == 0)
    values: dict[int, Any] = {}
    for i, (name, axis) in enumerate(recorded.inputs.items()):
        values[i] = build.add_input(name, recorded.shapes[i][0], axis)
    inputs = dict(zip(recorded.inputs, values.values(), strict=True))
    refusals: list[ConversionError] = []
    for call in recorded.calls:
        build.call = call
        before = len(build.caches)
        try:
            results = (UNKNOWN,) * len(call.results) if reads_unknown(call, values) else apply_call(build, call, values)
        except ConversionError as error:
            # The first pass collects; in the second, something does not fit the window.
            if window is not None:
                raise
            refusals.append(error)
            results = stand_in(build, call)
        values.update(zip(call.results, results, strict=True))
        if isinstance(results[0], StreamTensor):
            build.layers.append(make_layer(build, call, results[0], before))
    if refusals:
        raise join_refusals(refusals)
    outputs = [_output(build, values[i]) for i in recorded.outputs]
    return _Flowed(build, inputs, _finish(build, outputs, streaming))


def make_layer(build: Builder, call: Call, result: StreamTensor, before: int) -> Layer:
    """The row of a call in the table of the model; `before`: how many caches there were before it."""
    caches = tuple(cache.name for cache in build.caches[before:])
    return Layer(call.path, call.name, caches, result.stride, max(0, result.delay))


def apply_call(build: Builder, call: Call, values: Mapping[int, Any]) -> tuple[Any, ...]:
    """Convert one call by its rule; `values` holds what it reads, by number."""

    def change(item: Any) -> Any:
        found = values[item.index] if isinstance(item, Ref) else item
        if isinstance(found, Refused) and not (isinstance(found, Pending) and call.name in found.offered):
            raise build.refusal(found.rule, found.advice)
        return found

    args = replace_values(call.args, change)
    kwargs = {key: replace_values(value, change) for key, value in call.kwargs.items()}
    rule: Rule = RULES.get(call.name, unknown)
    _check_arguments(build, rule, args, kwargs)
    result = _follow(build, rule, args, kwargs)
    return result if isinstance(result, tuple) else (result,)


def _follow(build: Builder, rule: Rule, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    try:
        return rule(build, *args, **kwargs)
    except LightningEspError:
        raise
    except Exception as error:
        lengths = [v for v in flatten((*args, *kwargs.values())) if isinstance(v, Varying)]
        if lengths:
            raise build.refusal(
                f"takes a number that follows the length of the recording or the batch ({lengths[0]})",
                "don't compute with the number of frames",
            ) from error
        raise build.refusal(
            f"has a form that its streaming rule does not know ({type(error).__name__}: {error})", BY_HAND
        ) from error


def _check_arguments(build: Builder, rule: Rule, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    try:
        inspect.signature(rule).bind(build, *args, **kwargs)
    except TypeError as error:
        build.refuse(f"has arguments that its streaming rule does not know ({error})", BY_HAND)


def _output(build: Builder, value: Any) -> StreamTensor:
    if isinstance(value, Refused):
        raise build.refusal(value.rule, value.advice)
    if value.time_axis is None:
        raise ConversionError(
            f"the output {list(value.shape)} of the model has no time axis; return one output per frame, and pool after "
            "the exported model."
        )
    if value.folded:
        raise ConversionError(
            f"the output {list(value.shape)} of the model has batch and time in one axis; return it as [batch, time, ...], "
            "y.reshape(batch, time, ...)."
        )
    return value  # type: ignore[no-any-return]


def _finish(build: Builder, outputs: list[StreamTensor], streaming: Streaming) -> list[StreamTensor]:
    _check_lookahead(build, outputs, streaming)
    # Left padding that no layer used up is a delay of the stream's own, and all outputs come at one time.
    late = max(Fraction(0), *(s.delay * s.stride for s in outputs))
    return [build.delay(s, max(0, ceil(late / s.stride)) - s.delay) for s in outputs]


def _check_lookahead(build: Builder, outputs: list[StreamTensor], streaming: Streaming) -> None:
    for stream in outputs:
        ahead = _look_ahead(build, stream)
        if ahead <= streaming.lookahead:
            continue
        period = streaming.frame_period
        time = "" if period is None else f" ({ahead * period * 1000:g} ms)"
        raise NotCausalError(
            f"{stream.blame} looks ahead: the output needs {ahead} frame(s){time} after the end of its own, and "
            f"Streaming(lookahead={streaming.lookahead}) allows {streaming.lookahead}. Pad only on the left, "
            "F.pad(x, ((kernel - 1) * dilation, 0)) in front of a layer with padding=0, or accept the delay with "
            f"Streaming(lookahead={ahead})."
        )


def _look_ahead(build: Builder, stream: StreamTensor) -> int:
    """Input frames after the end of a whole number of strides that the last output frame waits for."""
    if not build.ahead(stream):
        return 0
    whole = (build.lengths % _stride_of(build) == 0) & build.valid & (stream.frames > 0)
    ends = build.lengths[whole]
    # How long the recording would have to be for the stream to give what offline gives for `ends` frames.
    needed = torch.searchsorted(stream.exact.cummax(0).values, stream.frames[whole])
    inside = needed < len(build.lengths)
    return int((needed - ends)[inside].max()) if bool(inside.any()) else ceil(build.ahead(stream))


def _stride_of(build: Builder) -> int:
    return lcm(*(stream.stride.numerator for stream in build.streams))


def _assemble(flowed: _Flowed, stride: int, window: int, streaming: Streaming) -> StreamingModel:
    build = flowed.build
    module = finish_graph(build, flowed.outputs)
    inputs = tuple(place_port(name, stream, build) for name, stream in flowed.inputs.items())
    trim = _fit(build, flowed.outputs[0], stride)[1]
    delay = flowed.outputs[0].delay
    outputs = tuple(
        _output_port(name, stream, build, (stride, trim, delay))
        for name, stream in zip(name_outputs(len(flowed.outputs)), flowed.outputs, strict=True)
    )
    stage = Stage("stage_0", inputs, outputs, tuple(build.caches))
    spec = StreamSpec(
        window=window,
        stride=stride,
        inputs=inputs,
        outputs=outputs,
        stages=(stage,),
        delay=delay,
        trim=trim,
        receptive_field=reach(flowed.outputs, Fraction(stride), build.streams, list(flowed.inputs.values())),
        frame_period=streaming.frame_period,
    )
    return StreamingModel(spec, (module,), tuple(build.layers))


def finish_graph(build: Builder, outputs: Sequence[StreamTensor]) -> fx.GraphModule:
    """Close the graph: outputs and new caches leave it, and what nothing reads goes."""
    build.graph.output((*(s.node for s in outputs), *build.next_values))
    for node in reversed(build.graph.nodes):
        if not node.users and node.op not in ("placeholder", "output"):
            build.graph.erase_node(node)
    for stream in build.streams:
        stream.node.meta.setdefault("time_axis", stream.time_axis)
        stream.node.meta.setdefault("folded", stream.folded)
        stream.node.meta.setdefault("batch_axis", stream.batch_axis)
    return fx.GraphModule(build.root, build.graph, class_name="Streamed")


def place_port(name: str, stream: StreamTensor, build: Builder) -> Port:
    """The outside of a stream: its shape for one window."""
    shape = [1 if i == 0 else n for i, n in enumerate(stream.shape)]
    if stream.time_axis is not None:
        shape[stream.time_axis] = build.frames(stream.stride)
    return Port(name, tuple(shape), stream.time_axis)


def name_outputs(count: int) -> list[str]:
    """Names of the outputs of a model."""
    return ["output"] if count == 1 else [f"output_{i}" for i in range(count)]


def _output_port(name: str, stream: StreamTensor, build: Builder, usual: tuple[int, int, int]) -> Port:
    step, trim = _fit(build, stream, usual[0])
    found = (step, trim, stream.delay)
    own: dict[str, Any] = {} if found == usual else dict(zip(("stride", "trim", "delay"), found, strict=True))
    last = count_last(stream, build.valid & (stream.frames > 0), usual[0])
    first = count_first(stream, build.streams)
    return replace(place_port(name, stream, build), **own, unlike_first=first, unlike_last=last)


def _fit(build: Builder, stream: StreamTensor, stride: int) -> tuple[int, int]:
    """Stride and trim with which `ceil((frames - trim) / stride) * up` is the offline length of an output."""
    known = build.valid & (stream.frames > 0)
    last = int(known.nonzero()[-1])
    for step in (n for n in range(1, stride + 1) if stride % n == 0 and n % stream.stride.numerator == 0):
        up = int(step / stream.stride)
        blocks, rest = divmod(int(stream.frames[last]), up)
        if rest:
            continue
        for trim in range(last - blocks * step, last - (blocks - 1) * step):
            fitted = -torch.div(trim - build.lengths, step, rounding_mode="floor") * up
            if torch.equal(fitted[known], stream.frames[known]):
                return step, trim
    up = max(1, int(1 / stream.stride))
    raise UnsupportedOperatorError(
        f"the output {list(stream.shape)} has {int(stream.frames[last])} frames for a recording of {last}, which is no whole "
        f"number of frames per stride. To stream it, pad every layer behind an upsampling on the left, F.pad(x, ((kernel - "
        f"1) * dilation, 0)), so that an input frame gives {up} output frame(s), and cut what is longer, y[..., : {up} * "
        "x.shape[-1]]."
    )
