"""Random architectures on their whole way to integers: every proof holds, or the operator is refused by name."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from lightning_esp import Quantization, QuantizedModel, Streaming
from lightning_esp.errors import ConfigurationError, ConversionError, DeviceSafetyError, WindowError
from lightning_esp.quantization import Worker
from tests.models.pieces import takes
from tests.models.proved import prove
from tests.support.architectures import Architecture, architectures
from tests.support.drawing import hold

# A percentile over few windows clips what is large in one of them.
KEEP_ALL = Quantization(method="minmax")
# Random weights are no trained network; below this, the integers have little to do with the model.
LEAST_DECIBELS = 6.0
FEW, MANY = 12, 400

T = TypeVar("T")


@dataclass
class Tally:
    """What became of the architectures."""

    drawn: int = 0
    exported: int = 0
    stages: Counter[int] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Way:
    """How an architecture is exported."""

    streamings: tuple[Streaming, ...]
    quantization: Quantization
    target: str


@st.composite
def ways(draw: st.DrawFn, axis: int) -> Way:
    """A way, with what may not fit the model left out one by one; shrinks to the defaults."""

    def choice(*options: T) -> T:
        return draw(st.sampled_from(options))

    plain = Streaming(time_axis=axis, caches=choice("auto", "auto", "explicit"))
    staged = replace(plain, stages=choice(None, None, 2, 3))
    windowed = replace(staged, window=choice(None, None, 1, 2, 3, 6))
    target = choice("esp32s3", "esp32s3", "esp32p4", "esp32c3")
    quantization = choice(KEEP_ALL, KEEP_ALL, Quantization(precision="int16"))
    return Way((windowed, staged, plain), quantization, target)


@st.composite
def exports(draw: st.DrawFn) -> tuple[Architecture, Way]:
    architecture = draw(architectures())
    return architecture, draw(ways(architecture.axis))


def recordings(architecture: Architecture) -> list[Tensor]:
    """Two of different lengths, where the model takes them."""
    generator = torch.Generator().manual_seed(architecture.seed)
    lengths = (architecture.frames + 24, architecture.frames)
    found = [architecture.recordings(1, frames, generator) for frames in lengths]
    return [value[0].float() for value in found if takes(architecture.module, value.double())]


def attempt(architecture: Architecture, way: Way, worker: Worker) -> QuantizedModel:
    """Export one with all proofs.

    Raises:
        LightningEspError: it is refused, or wrong.
    """
    given = recordings(architecture)
    module = architecture.module.float()
    for streaming in way.streamings:
        try:
            return prove(module, given, worker, streaming, LEAST_DECIBELS, way.quantization, way.target)
        except (ConfigurationError, WindowError):
            continue
    raise AssertionError("not even the plain way")


def check(drawn: tuple[Architecture, Way], tally: Tally, worker: Worker) -> None:
    tally.drawn += 1
    try:
        quantized = attempt(*drawn, worker)
    except (ConversionError, DeviceSafetyError) as error:
        tally.refused[f"{type(error).__name__}: {' '.join(str(error).rpartition('): ')[2].split()[:9])}"] += 1
        return
    tally.exported += 1
    tally.stages[len(quantized.stages)] += 1


def run(count: int, first: int, worker: Worker) -> Tally:
    tally = Tally()
    hold(partial(check, tally=tally, worker=worker), exports(), count, first)
    print(f"\n{tally.exported} of {tally.drawn} exported, by stages {dict(tally.stages)}; refused:")
    for words, number in tally.refused.most_common():
        print(f"{number:6d}  {words}")
    return tally


def test_random_architectures_are_proved_in_integers_or_refused(worker: Worker) -> None:
    assert run(FEW, 0, worker).exported >= FEW // 2


@pytest.mark.full
def test_many_random_architectures_are_proved_in_integers_or_refused(worker: Worker) -> None:
    assert run(MANY, 1000, worker).exported >= MANY // 2
