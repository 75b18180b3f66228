"""Random architectures out of the rule table: each streams exactly as it runs offline, or is refused; none is wrong."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import allow_mutation_on_saved_tensors

from lightning_esp.config import Streaming
from lightning_esp.conversion.conversion import convert_trace, record
from lightning_esp.conversion.copying import copy_module
from lightning_esp.conversion.partition import partition
from lightning_esp.conversion.rules import RULES, refusals
from lightning_esp.conversion.spec import Port
from lightning_esp.conversion.streaming_model import StreamingModel
from lightning_esp.conversion.trace import ForwardTrace
from lightning_esp.errors import ConfigurationError, ConversionError
from tests.models.pieces import Chomp, randomise, takes
from tests.models.proved import as_tuple
from tests.support.architectures import Architecture, architectures, build
from tests.support.drawing import hold, smallest

LIMIT = 1e-10
STRIDES = (1, 2, 3, 8)
RECORDINGS = 8


@dataclass
class Tally:
    """What became of the architectures."""

    drawn: int = 0
    converted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)
    cut: int = 0
    axes: Counter[int] = field(default_factory=Counter)
    several: int = 0


def trace_of(architecture: Architecture) -> ForwardTrace:
    streaming = Streaming(time_axis=architecture.axis, inputs={"input": "stream"})
    return record(architecture.module, {"input": architecture.example}, streaming)


def check(architecture: Architecture, tally: Tally) -> None:
    """Hold the conversion of one against its offline form, or find it refused.

    Raises:
        AssertionError: it is wrong.
    """
    tally.drawn += 1
    try:
        trace = trace_of(architecture)
        models = [convert_trace(trace, Streaming())]
        stride = models[0].spec.stride
        models += [convert_trace(trace, Streaming(window=n * stride)) for n in STRIDES[1:]]
    except ConversionError as error:
        tally.refused[reason(error)] += 1
        return
    assert not architecture.expected_refusal, "what cannot stream was converted"
    tally.converted += 1
    tally.axes[architecture.axis] += 1
    tally.several += len(models[0].spec.outputs) > 1
    for model in [*models, *cut_into_stages(models, architecture.seed, tally)]:
        compare(architecture, model)
    follow_gradient(architecture, models[0])
    tally.rules.update(rule_of(layer.operator) for layer in models[0].layers)


def cut_into_stages(models: Sequence[StreamingModel], seed: int, tally: Tally) -> list[StreamingModel]:
    """One of the models in a few stages, where it has as many parts."""
    model, stages = models[seed % len(models)], 2 + seed % 3
    try:
        found = partition(model, stages)
    except ConfigurationError:
        return []
    tally.cut += 1
    return [found]


def compare(architecture: Architecture, model: StreamingModel) -> None:
    """The stream equals the offline output, wherever the spec says so."""
    # An example of other length than the one that was traced, where the model takes it.
    frames = architecture.frames + architecture.seed % 4
    recording = architecture.recordings(2, frames, torch.Generator().manual_seed(architecture.seed))
    if not takes(architecture.module, recording):
        recording = recording.narrow(architecture.axis, 0, architecture.frames)
    with torch.no_grad():
        offline, streamed = as_tuple(architecture.module(recording)), as_tuple(model.run(recording))
    for port, expected, found in zip(model.spec.outputs, offline, streamed, strict=True):
        where = f"window {model.window}, {len(model.stages)} stage(s), {port.name}"
        assert found.shape == expected.shape, where
        assert port.time_axis is not None
        settled = model.spec.settled_frames(port, recording.shape[architecture.axis])
        assert settled >= expected.shape[port.time_axis] - port.frames * model.spec.stride // model.window
        gap = (found - expected).narrow(port.time_axis, 0, settled)
        largest = float(gap.abs().amax()) / max(1.0, float(expected.abs().max())) if gap.numel() else 0.0
        assert largest <= LIMIT, where


def follow_gradient(architecture: Architecture, model: StreamingModel) -> None:
    """The output reaches exactly as far back as computed, and never past the window that it comes with."""
    module, reached, tries = architecture.module, 0, 0
    while reached != (model.receptive_field or reached) or not tries:
        span, late = widest_span(module, model, architecture, architecture.seed + tries)
        assert late <= 0, f"an output depends on {late} frame(s) that come later"
        reached, tries = max(reached, span), tries + 1
        assert reached <= (model.receptive_field or reached), "by gradient"
        assert reached == (model.receptive_field or reached) or tries < 20, "by gradient"
        # A ReLU that is dead with these weights is alive with others, and what a maximum hides in these recordings it
        # shows in others.
        module = randomise(copy_module(architecture.module), tries)


def widest_span(module: nn.Module, model: StreamingModel, architecture: Architecture, seed: int) -> tuple[int, int]:
    """Frames from the first to the last one that an output frame depends on, and how many of them come too late."""
    spec = model.spec
    # What a head makes of another output sees no less.
    port = spec.outputs[-1]
    per_stride = port.frames * spec.stride // spec.window
    frames = 2 * (model.receptive_field or 24) + 6 * spec.stride + spec.trim
    # Of several recordings, since a ReLU or a maximum hides some frames in each.
    generator = torch.Generator().manual_seed(seed)
    recordings = architecture.recordings(RECORDINGS, -(-frames // 216) * 216, generator)
    # Branches that go down and up again may take multiples of their strides only; the shortest that are taken are fastest.
    lengths = (-(-frames // multiple) * multiple for multiple in (24, 72, 216))
    taken = (recordings.narrow(architecture.axis, 0, n) for n in lengths)
    recordings = next(found for found in taken if takes(module, found[:1]))
    gradients = gradients_of(module, recordings, port, per_stride, architecture.axis)
    span = late = 0
    for frame, gradient in gradients.items():
        touched = gradient.nonzero().flatten().tolist() or [0]
        span = max(span, touched[-1] - touched[0] + 1)
        window = (frame + spec.delay) // port.frames
        late = max(late, touched[-1] + 1 - (window + 1) * spec.window)
    return span, late


def gradients_of(module: nn.Module, recordings: Tensor, port: Port, count: int, axis: int) -> dict[int, Tensor]:
    """By frame of the last output, for `count` of them near the end: the largest gradient for each input frame."""
    try:
        return _gradients_of(module, recordings, port, count, axis)
    except RuntimeError:
        # An operation in place may overwrite what the gradient of another needs.
        with allow_mutation_on_saved_tensors():
            return _gradients_of(module, recordings, port, count, axis)


def _gradients_of(module: nn.Module, recordings: Tensor, port: Port, count: int, axis: int) -> dict[int, Tensor]:
    # One backward pass serves all frames: each has a copy of the recordings.
    copies = torch.cat([recordings] * count).requires_grad_()
    output = as_tuple(module(copies.clone()))[-1].movedim(port.time_axis, -1)
    start = (output.shape[-1] // count - 2) * count
    chosen = [output[i * RECORDINGS : (i + 1) * RECORDINGS, ..., start + i].sum() for i in range(count)]
    (gradient,) = torch.autograd.grad(torch.stack(chosen).sum(), copies)
    largest = gradient.abs().movedim(axis, 1).flatten(2).amax(2).unflatten(0, (count, RECORDINGS)).amax(1)
    return {start + i: largest[i] for i in range(count)}


def rule_of(operator: str) -> str:
    """Operators with one rule count together."""
    rule = RULES[operator]
    return (
        rule.__name__ if rule.__name__ != "rule" else "pointwise" if "dim" not in rule.__annotations__ else "over axis"
    )


def reason(error: ConversionError) -> str:
    """The operator and the start of the rule, without module and figures."""
    words = str(error).rpartition("): ")[2] if "): " in str(error) else str(error)
    return " ".join(word for word in words.split()[:6] if not any(c.isdigit() for c in word))


def run(count: int) -> Tally:
    tally = Tally()
    hold(partial(check, tally=tally), architectures(), count)
    print(f"\n{tally.converted} of {tally.drawn} converted; refused:")
    for words, number in tally.refused.most_common():
        print(f"{number:6d}  {words}")
    print(f"time axes {dict(tally.axes)}, {tally.several} with several outputs, {tally.cut} cut into stages")
    print("rules:", dict(tally.rules.most_common()))
    return tally


def judge(tally: Tally, count: int) -> None:
    assert tally.drawn >= count
    assert tally.converted + sum(tally.refused.values()) == tally.drawn
    assert tally.converted >= 0.8 * tally.drawn
    # What `fill` leaves is a constant, and so no layer that could be counted.
    refusing = {*refusals.RULES.values(), RULES["group_norm"], RULES["fill"]} - {RULES["cumsum"]}
    expected = {rule_of(name) for name, rule in RULES.items() if rule not in refusing}
    rare = {rule: tally.rules[rule] for rule in expected if tally.rules[rule] < count // 100}
    assert rare == {}
    assert min(tally.axes[axis] for axis in (1, 2, 3)) >= 0.05 * tally.converted
    assert tally.several >= 0.05 * tally.converted
    assert tally.cut >= 0.4 * tally.converted


def test_random_architectures_stream_exactly_or_are_refused() -> None:
    judge(run(500), 500)


@pytest.mark.parametrize("seed", [54, 213, 997, 3054, 11630, 97311])
def test_architectures_that_were_wrong_once_are_right(seed: int) -> None:
    check(build(seed), Tally())


@pytest.mark.full
def test_many_random_architectures_stream_exactly_or_are_refused() -> None:
    judge(run(5_000), 5_000)


class Forgetful(StreamingModel):
    """A planted fault: the state is lost between windows."""

    def step_values(self, inputs, caches):  # type: ignore[no-untyped-def]
        return super().step_values(inputs, {name: torch.zeros_like(value) for name, value in caches.items()})


def is_wrong_where_state_is_lost(architecture: Architecture, layer: type[nn.Module]) -> bool:
    """Whether the comparison sees the planted fault in a model with such a layer."""
    if not any(isinstance(found, layer) for found in architecture.module.modules()):
        return False
    try:
        model = convert_trace(trace_of(architecture), Streaming())
    except ConversionError:
        return False
    try:
        compare(architecture, Forgetful(model.spec, model.stages))
    except AssertionError:
        return True
    return False


def test_a_wrong_conversion_is_seen_and_shrinks_to_the_one_layer_that_is_wrong() -> None:
    """Wherever it stood: behind others, in a branch, or within a wrapper."""
    found = smallest(architectures(), partial(is_wrong_where_state_is_lost, layer=nn.GRU))
    assert found.names == ("recurrent",)
    (rnn,) = (layer for layer in found.module.modules() if isinstance(layer, nn.GRU))
    assert (rnn.input_size, rnn.hidden_size, rnn.num_layers) == (2, 2, 1)
    assert (found.example.shape, found.axis, found.seed) == ((1, 2, 24), 2, 0)


def assert_no_chomp(architecture: Architecture) -> None:
    assert not any(isinstance(layer, Chomp) for layer in architecture.module.modules())


def test_a_failure_shows_the_smallest_architecture() -> None:
    with pytest.raises(AssertionError) as failure:
        hold(assert_no_chomp, architectures(), 100)
    note = "\n".join(failure.value.__notes__)  # on a CI server hypothesis adds how to reproduce it
    assert "<chomped; input [1, 2, 24], weights 0; " in note
    assert "Conv1d(2, 2, kernel_size=(1,), stride=(1,))" in note
