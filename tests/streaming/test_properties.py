"""Random architectures out of the rule table: each streams exactly as it runs offline, or is refused; none is wrong."""

from collections import Counter
from dataclasses import dataclass, field
from random import Random

import pytest
import torch
from torch import Tensor

from lightning_esp.config import Streaming
from lightning_esp.errors import ConversionError
from lightning_esp.streaming.conversion import convert_trace, record
from lightning_esp.streaming.model import StreamingModel
from lightning_esp.streaming.rules import RULES, refusals
from tests.models.random_architectures import Architecture, draw

LIMIT = 1e-10
STRIDES = (1, 2, 3, 8)


@dataclass
class Tally:
    """What became of the architectures."""

    converted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def check(seed: int, tally: Tally) -> None:
    architecture = draw(seed)
    try:
        trace = record(
            architecture.module, {"input": architecture.example}, Streaming(time_axis=2, inputs={"input": "stream"})
        )
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
    for model in models:
        compare(seed, architecture, model, tally)
    tally.rules.update(rule_of(layer.operator) for layer in models[0].layers)


def compare(seed: int, architecture: Architecture, model: StreamingModel, tally: Tally) -> None:
    # An example of other length than the one that was traced, where the model takes it.
    frames = architecture.example.shape[2] + Random(seed).randrange(4)
    generator = torch.Generator().manual_seed(seed)
    recording = torch.randn(2, architecture.example.shape[1], frames, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        offline, streamed = architecture.module(recording), model.run(recording)
    assert isinstance(streamed, Tensor)
    if streamed.shape != offline.shape:
        tally.wrong.append(f"seed {seed}, window {model.window}: {list(streamed.shape)} for {list(offline.shape)}")
        return
    largest = float((streamed - offline).abs().max()) / max(1.0, float(offline.abs().max()))
    if not largest <= LIMIT:
        tally.wrong.append(f"seed {seed}, window {model.window}: differs by {largest}")


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


def run(seeds: range) -> Tally:
    tally = Tally()
    for seed in seeds:
        check(seed, tally)
    print(f"\n{tally.converted} of {len(seeds)} converted; refused:")
    for words, count in tally.refused.most_common():
        print(f"{count:6d}  {words}")
    print("rules:", dict(tally.rules.most_common()))
    return tally


def judge(tally: Tally, count: int) -> None:
    assert tally.wrong == []
    assert tally.converted + sum(tally.refused.values()) == count
    assert tally.converted >= 0.8 * count
    refusing = {*refusals.RULES.values(), RULES["group_norm"]} - {RULES["cumsum"]}
    expected = {rule_of(name) for name, rule in RULES.items() if rule not in refusing}
    rare = {rule: tally.rules[rule] for rule in expected if tally.rules[rule] < 20}
    assert rare == {}


def test_random_architectures_stream_exactly_or_are_refused() -> None:
    judge(run(range(500)), 500)


@pytest.mark.full
def test_many_random_architectures_stream_exactly_or_are_refused() -> None:
    judge(run(range(10_000, 15_000)), 5_000)


def test_a_wrong_conversion_would_be_seen() -> None:
    # The comparison itself: a model whose state is lost between windows must not pass.
    architecture = draw(next(s for s in range(100) if has_caches(s)))
    trace = record(
        architecture.module, {"input": architecture.example}, Streaming(time_axis=2, inputs={"input": "stream"})
    )
    model = convert_trace(trace, Streaming())

    class Forgetful(StreamingModel):
        def step_values(self, inputs, caches):  # type: ignore[no-untyped-def]
            return super().step_values(inputs, {name: torch.zeros_like(value) for name, value in caches.items()})

    tally = Tally()
    compare(0, architecture, Forgetful(model.spec, model.stages), tally)
    assert len(tally.wrong) == 1


def has_caches(seed: int) -> bool:
    architecture = draw(seed)
    try:
        trace = record(
            architecture.module, {"input": architecture.example}, Streaming(time_axis=2, inputs={"input": "stream"})
        )
        return len(convert_trace(trace, Streaming()).spec.caches) > 2
    except ConversionError:
        return False
