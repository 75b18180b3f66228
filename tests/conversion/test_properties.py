"""Random architectures out of the rule table: each streams exactly as it runs offline, or is refused; none is wrong."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
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
from tests.models.proved import as_tuple
from tests.models.random_architectures import Architecture, draw, randomise, takes

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
    wrong: list[str] = field(default_factory=list)


def trace_of(architecture: Architecture) -> ForwardTrace:
    streaming = Streaming(time_axis=architecture.axis, inputs={"input": "stream"})
    return record(architecture.module, {"input": architecture.example}, streaming)


def check(seed: int, tally: Tally, plain: bool = False) -> None:
    architecture = draw(seed, plain)
    try:
        trace = trace_of(architecture)
        models = [convert_trace(trace, Streaming())]
        stride = models[0].spec.stride
        models += [convert_trace(trace, Streaming(window=n * stride)) for n in STRIDES[1:]]
    except ConversionError as error:
        tally.refused[reason(error)] += 1
        return
    if architecture.expected_refusal:
        tally.wrong.append(f"seed {seed}: {architecture.expected_refusal} was converted")
        return
    tally.converted += 1
    tally.axes[architecture.axis] += 1
    tally.several += len(models[0].spec.outputs) > 1
    for model in [*models, *cut_into_stages(models, seed, tally)]:
        compare(seed, architecture, model, tally)
    follow_gradient(seed, architecture, models[0], tally)
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


def compare(seed: int, architecture: Architecture, model: StreamingModel, tally: Tally) -> None:
    # An example of other length than the one that was traced, where the model takes it.
    frames = architecture.frames + Random(seed).randrange(4)
    recording = architecture.recordings(2, frames, torch.Generator().manual_seed(seed))
    if not takes(architecture.module, recording):
        recording = recording.narrow(architecture.axis, 0, architecture.frames)
    with torch.no_grad():
        offline, streamed = as_tuple(architecture.module(recording)), as_tuple(model.run(recording))
    for port, expected, found in zip(model.spec.outputs, offline, streamed, strict=True):
        where = f"seed {seed}, window {model.window}, {len(model.stages)} stage(s), {port.name}"
        if found.shape != expected.shape:
            tally.wrong.append(f"{where}: {list(found.shape)} for {list(expected.shape)}")
            continue
        assert port.time_axis is not None
        settled = model.spec.settled_frames(port, recording.shape[architecture.axis])
        assert settled >= expected.shape[port.time_axis] - port.frames * model.spec.stride // model.window
        gap = (found - expected).narrow(port.time_axis, 0, settled)
        largest = float(gap.abs().amax()) / max(1.0, float(expected.abs().max())) if gap.numel() else 0.0
        if not largest <= LIMIT:
            tally.wrong.append(f"{where}: differs by {largest}")


def follow_gradient(seed: int, architecture: Architecture, model: StreamingModel, tally: Tally) -> None:
    """The output reaches exactly as far back as computed, and never past the window that it comes with."""
    module, reached, tries = architecture.module, 0, 0
    while reached != (model.receptive_field or reached) or not tries:
        span, late = widest_span(module, model, architecture, seed + tries)
        if late:
            tally.wrong.append(f"seed {seed}: an output depends on {late} frame(s) that come later")
        reached, tries = max(reached, span), tries + 1
        if reached > (model.receptive_field or reached) or tries == 20:
            tally.wrong.append(f"seed {seed}: receptive field {model.receptive_field}, but {reached} by gradient")
            return
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

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 2**32 - 1))
    def hold(seed: int) -> None:
        # Failures are collected, so that one run finds them all.
        tally.drawn += 1
        try:
            check(seed, tally)
        except Exception as error:
            tally.wrong.append(f"seed {seed}: {type(error).__name__}: {error}")

    hold()
    print(f"\n{tally.converted} of {tally.drawn} converted; refused:")
    for words, number in tally.refused.most_common():
        print(f"{number:6d}  {words}")
    print(f"time axes {dict(tally.axes)}, {tally.several} with several outputs, {tally.cut} cut into stages")
    print("rules:", dict(tally.rules.most_common()))
    print("wrong:", *tally.wrong, sep="\n")
    return tally


def judge(tally: Tally, count: int) -> None:
    assert tally.wrong == []
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
    tally = Tally()
    check(seed, tally, plain=True)
    assert tally.wrong == []


@pytest.mark.full
def test_many_random_architectures_stream_exactly_or_are_refused() -> None:
    judge(run(5_000), 5_000)


def test_a_wrong_conversion_would_be_seen() -> None:
    # The comparison itself: a model whose state is lost between windows must not pass.
    architecture = draw(next(s for s in range(100) if has_caches(s)))
    model = convert_trace(trace_of(architecture), Streaming())

    class Forgetful(StreamingModel):
        def step_values(self, inputs, caches):  # type: ignore[no-untyped-def]
            return super().step_values(inputs, {name: torch.zeros_like(value) for name, value in caches.items()})

    tally = Tally()
    compare(0, architecture, Forgetful(model.spec, model.stages), tally)
    assert len(tally.wrong) == len(model.spec.outputs)


def has_caches(seed: int) -> bool:
    architecture = draw(seed)
    try:
        return len(convert_trace(trace_of(architecture), Streaming()).spec.caches) > 2
    except ConversionError:
        return False
