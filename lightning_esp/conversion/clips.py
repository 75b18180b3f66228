"""Models that decide on whole clips: the network up to the first operator that needs all of time runs frame by frame."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import ceil, lcm
from typing import Any

import torch
from torch import fx

from lightning_esp.config import Streaming
from lightning_esp.conversion.conversion import apply_call, finish_graph, make_layer, name_outputs, place_port
from lightning_esp.conversion.holding import ClipBuilder, NeedsClipError, TooFarError
from lightning_esp.conversion.rules.whole import apply_whole
from lightning_esp.conversion.spec import Clip, Port, Stage, StreamSpec, Values
from lightning_esp.conversion.stream_tensor import StreamTensor, reach
from lightning_esp.conversion.streaming_model import StreamingModel
from lightning_esp.conversion.trace import Call, ForwardTrace, references
from lightning_esp.errors import ConversionError, UnsupportedOperatorError, WindowError

# Decisions per clip of a network that runs as a whole for each.
SLIDES = 8


def convert_clip(recorded: ForwardTrace, streaming: Streaming) -> StreamingModel:
    """Convert a network whose output has no time axis: it decides on the last frames, again and again.

    Args:
        recorded: what forward does with a clip, from `trace(..., clip=True)`.
        streaming: options, with `time_axis` and `inputs` filled in.

    Returns:
        A model of one stage; its outputs have an axis of time behind the others.

    Raises:
        ConversionError: an operator has no form on the chip even on a whole clip.
        WindowError: the hop does not fit the stride, or is longer than the clip.
    """
    first, forced = _settle(recorded, None, 0, streaming, frozenset())
    hop = _choose_hop(recorded, streaming, first)
    second, forced = _settle(recorded, hop, 0, streaming, forced)
    # All that is held stands at the end of one clip, whichever tensor is complete last.
    third, _ = _settle(recorded, hop, second.needed, streaming, forced)
    return _assemble(third, recorded, hop, streaming)


class _ClipFlow:
    """The streaming graph with its inputs, and its outputs in one frame each."""

    def __init__(self, recorded: ForwardTrace, window: int | None, ends: int, streaming: Streaming) -> None:
        self.build = ClipBuilder(recorded, window, ends, streaming.lookahead)
        self.inputs: dict[str, StreamTensor] = {}
        self.outputs: list[StreamTensor] = []

    @property
    def needed(self) -> int:
        """Windows after which the first clip is whole."""
        return self.build.needed


def _settle(
    recorded: ForwardTrace, window: int | None, ends: int, streaming: Streaming, forced: frozenset[int]
) -> tuple[_ClipFlow, frozenset[int]]:
    """Convert, and give whole clips to whatever turns out to need them."""
    while True:
        try:
            return _flow(recorded, window, ends, streaming, forced), forced
        except (TooFarError, NeedsClipError) as error:
            if error.made < 0 or error.made in forced:
                raise
            forced = forced | {error.made}


def _flow(
    recorded: ForwardTrace, window: int | None, ends: int, streaming: Streaming, forced: frozenset[int]
) -> _ClipFlow:
    flow = _ClipFlow(recorded, window, ends, streaming)
    build, values = flow.build, dict[int, Any]()
    for i, (name, axis) in enumerate(recorded.inputs.items()):
        values[i] = build.add_input(name, recorded.shapes[i][0], axis)
        values[i].node.meta["input"] = True
    flow.inputs = dict(zip(recorded.inputs, values.values(), strict=True))
    if streaming.clip_form == "sliding":
        values |= {i: build.hold(x) for i, x in values.items() if x.time_axis is not None}
    for call in recorded.calls:
        build.call = call
        before = len(build.caches)
        results = _apply(build, call, values, forced)
        values.update(zip(call.results, results, strict=True))
        if isinstance(results[0], StreamTensor):
            build.layers.append(make_layer(build, call, results[0], before))
    flow.outputs = [_output(build, values[i]) for i in recorded.outputs]
    return flow


def _apply(build: ClipBuilder, call: Call, values: Mapping[int, Any], forced: frozenset[int]) -> tuple[Any, ...]:
    made = call.results[0]
    if made in forced or made >= build.trace.known or any(build.is_clip(values[r.index]) for r in references(call)):
        return apply_whole(build, call, values)
    try:
        return apply_call(build, call, values)
    except ConversionError as refusal:
        error = NeedsClipError(str(refusal))
        error.made = made
        raise error from refusal


def _output(build: ClipBuilder, value: Any) -> StreamTensor:
    shape = list(value.shape)
    if not build.is_clip(value):
        raise UnsupportedOperatorError(
            f"the output {shape} has frames beside a decision on the clip; return decisions on the clip, [batch, ...], alone, or "
            "an output per frame alone."
        )
    if value.batch_axis != 0:
        raise ConversionError(f"the output {shape} of the model has no batch in front; return it as [batch, ...].")
    node = build.emit(torch.unsqueeze, value, len(shape))
    return build.finish(StreamTensor(node, (*value.shape, 1), 0, None))


def _choose_hop(recorded: ForwardTrace, streaming: Streaming, flow: _ClipFlow) -> int:
    """Return the window, checked."""
    clip, stride = recorded.frames[0], lcm(*(s.stride.numerator for s in flow.build.streams))
    assert streaming.window != "auto"
    given = streaming.hop or streaming.window
    hop = given or (max(1, clip // SLIDES // stride) * stride if is_sliding(flow.build) else stride)
    if hop % stride or hop > clip:
        nearest = max(stride, min(hop, clip) // stride * stride)
        raise WindowError(
            f"Streaming(hop={hop}): a hop is a multiple of the model's stride of {stride} frames and at most the clip of {clip} "
            f"frames; use {nearest}."
        )
    return hop


def is_sliding(build: ClipBuilder) -> bool:
    """Tell whether the whole network runs on each clip: only input frames are held, and no layer stands in front."""
    return all(not _runs_layers(held.stream.node) for held in build.held)


def _runs_layers(node: fx.Node) -> bool:
    own = node.op == "call_module" or (node.op == "placeholder" and not node.meta.get("input", False))
    return own or any(map(_runs_layers, node.all_input_nodes))


def _assemble(flow: _ClipFlow, recorded: ForwardTrace, hop: int, streaming: Streaming) -> StreamingModel:
    build, clip = flow.build, recorded.frames[0]
    module = finish_graph(build, flow.outputs)
    inputs = tuple(place_port(name, stream, build) for name, stream in flow.inputs.items())
    outputs = tuple(
        Port(name, tuple(1 if i == 0 else n for i, n in enumerate(s.shape)), len(s.shape) - 1)
        for name, s in zip(name_outputs(len(flow.outputs)), flow.outputs, strict=True)
    )
    held = tuple(dict.fromkeys(f"{h.call.path or 'the model'}: {h.call.name}" for h in build.held))
    spec = StreamSpec(
        window=hop,
        stride=hop,
        inputs=inputs,
        outputs=outputs,
        stages=(Stage("stage_0", inputs, outputs, tuple(build.caches)),),
        delay=max(build.ends, build.needed) - 1,
        trim=clip - 1,
        receptive_field=_reach(flow),
        frame_period=streaming.frame_period,
        clip=Clip(clip, hop, "sliding" if is_sliding(build) else "incremental", held, _lookahead(build)),
    )
    return StreamingModel(spec, (module,), tuple(build.layers))


def _lookahead(build: ClipBuilder) -> int:
    """Input frames behind a clip that what is held waits for."""
    return max((ceil(build.ahead(held.stream)) for held in build.held), default=0)


def check_runs(model: StreamingModel, clip: Values) -> StreamingModel:
    """Return a model that runs on a batch of two clips.

    Args:
        model: a streaming form.
        clip: one clip by argument name.

    Raises:
        UnsupportedOperatorError: it does not: an operator was written down for a batch of one.
    """
    try:
        with torch.no_grad():
            model.run({name: torch.cat([value, value]) for name, value in clip.items()})
    except RuntimeError as error:
        raise UnsupportedOperatorError(
            f"the form of the model on whole clips does not run on a batch of two: {str(error).splitlines()[0]}. Join and compute "
            "with tensors made from the input, of its batch, or put that behind the exported model."
        ) from error
    return model


def _reach(flow: _ClipFlow) -> int | None:
    """Input frames that a decision depends on."""
    build, found = flow.build, [0]
    for held in build.held:
        own = reach([held.stream], Fraction(held.stream.stride.numerator), build.streams, list(flow.inputs.values()))
        if own is None:
            return None
        found.append(own + int((held.count - 1) * held.stream.stride))
    return max(found)
