"""Random architectures on their whole way to integers: every proof holds, or the operator is refused by name."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from random import Random

import pytest
import torch
from torch import Tensor

from lightning_esp import Quantization, QuantizedModel, Streaming
from lightning_esp.errors import ConfigurationError, ConversionError, DeviceSafetyError, LightningEspError, WindowError
from lightning_esp.quantization import Worker
from tests.models.proved import prove
from tests.models.random_architectures import Architecture, draw, takes

# A percentile over few windows clips what is large in one of them.
KEEP_ALL = Quantization(method="minmax")
# Random weights are no trained network; below this, the integers have little to do with the model.
LEAST_DECIBELS = 6.0
FEW, MANY = 12, 400


@dataclass
class Tally:
    """What became of the architectures."""

    drawn: int = 0
    exported: int = 0
    stages: Counter[int] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Way:
    """How an architecture is exported."""

    streamings: tuple[Streaming, ...]
    quantization: Quantization
    target: str


def draw_way(architecture: Architecture, seed: int) -> Way:
    """A random way; with what may not fit the model left out one by one."""
    r = Random(seed)
    plain = Streaming(time_axis=architecture.axis, caches=r.choice(("auto", "auto", "explicit")))  # type: ignore[arg-type]
    staged = replace(plain, stages=r.choice((None, None, 2, 3)))
    windowed = replace(staged, window=r.choice((None, None, 1, 2, 3, 6)))
    target = r.choice(("esp32s3", "esp32s3", "esp32p4", "esp32c3"))
    quantization = r.choice((KEEP_ALL, KEEP_ALL, Quantization(precision="int16")))
    return Way((windowed, staged, plain), quantization, target)


def recordings(architecture: Architecture, seed: int) -> list[Tensor]:
    """Two of different lengths, where the model takes them."""
    generator = torch.Generator().manual_seed(seed)
    lengths = (architecture.frames + 24, architecture.frames)
    found = [architecture.recordings(1, frames, generator) for frames in lengths]
    return [value[0].float() for value in found if takes(architecture.module, value.double())]


def attempt(seed: int, worker: Worker) -> QuantizedModel:
    """Export one with all proofs.

    Raises:
        LightningEspError: it is refused, or wrong.
    """
    architecture = draw(seed)
    given = recordings(architecture, seed)
    module, way = architecture.module.float(), draw_way(architecture, seed)
    for streaming in way.streamings:
        try:
            return prove(module, given, worker, streaming, LEAST_DECIBELS, way.quantization, way.target)
        except (ConfigurationError, WindowError):
            continue
    raise AssertionError("not even the plain way")


def check(seed: int, tally: Tally, worker: Worker) -> None:
    tally.drawn += 1
    try:
        quantized = attempt(seed, worker)
        tally.exported += 1
        tally.stages[len(quantized.stages)] += 1
    except (ConversionError, DeviceSafetyError) as error:
        tally.refused[f"{type(error).__name__}: {' '.join(str(error).rpartition('): ')[2].split()[:9])}"] += 1
    except (LightningEspError, AssertionError, RuntimeError, ValueError, TypeError, KeyError) as error:
        tally.wrong.append(f"seed {seed}: {type(error).__name__}: {str(error)[:400]}")


def run(seeds: range, worker: Worker) -> Tally:
    tally = Tally()
    for seed in seeds:
        check(seed, tally, worker)
    print(f"\n{tally.exported} of {tally.drawn} exported, by stages {dict(tally.stages)}; refused:")
    for words, number in tally.refused.most_common():
        print(f"{number:6d}  {words}")
    print("wrong:", *tally.wrong, sep="\n")
    return tally


def test_random_architectures_are_proved_in_integers_or_refused(worker: Worker) -> None:
    tally = run(range(FEW), worker)
    assert tally.wrong == []
    assert tally.exported >= FEW // 2


@pytest.mark.full
def test_many_random_architectures_are_proved_in_integers_or_refused(worker: Worker) -> None:
    tally = run(range(1000, 1000 + MANY), worker)
    assert tally.wrong == []
    assert tally.exported >= MANY // 2
