"""Prints what each candidate of the precision search gains, what it costs on the chip, and how many seconds it takes.

    python benchmarks/precision_search.py [--target esp32p4] [--models tcn gru]

Three networks are trained for a few seconds to tell noisy patterns apart: the keyword network of the recipes with a
convolution in time in front (`tcn`), with convolutions over bands and time (`bands`), and a GRU between two Linear layers
(`gru`). Each is quantized in every way that `Quantization(precision="auto")` tries, whether or not an earlier one would
have done. Measured on recordings that neither trained nor calibrated it: the signal-to-noise ratio at the outputs, and how
many frames are still decided as in float. Time and memory on the chip are estimates.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_esp import CalibrationSet, Quantization, Streaming, StreamingModel, calibrate, convert, quantize
from lightning_esp.errors import LightningEspError
from lightning_esp.precision import rank_modules
from lightning_esp.precision.candidate import describe
from lightning_esp.precision.output_noise import decibels, measure_outputs, prepare_reference
from lightning_esp.precision.search import METHODS, REFINEMENTS
from lightning_esp.quantization import QuantizedModel, Worker
from lightning_esp.simulation import QuantizedStreaming

sys.path.append(str(Path(__file__).parents[1] / "recipes"))
from tcn import KeywordTcn

BANDS, CLASSES, FRAMES = 32, 6, 96
TRAINING, HELD_OUT = 512, 32


class Cell(nn.Module):
    """Bands [batch, frames, bands] -> logits per frame: a recurrent layer between two Linear ones."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.gru = nn.Linear(BANDS, 32), nn.GRU(32, 32, batch_first=True)
        self.head = nn.Linear(32, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        logits: Tensor = self.head(self.gru(torch.relu(self.first(x)))[0])
        return logits


MODELS: dict[str, Callable[[], nn.Module]] = {
    "tcn": lambda: KeywordTcn(BANDS, CLASSES, 64, 5, (1, 2, 4, 8)),
    "bands": lambda: KeywordTcn(BANDS, CLASSES, 48, 5, (1, 2, 4), (8, 16)),
    "gru": Cell,
}


def make_patterns(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noisy recordings `[count, bands, frames]` of a few patterns, and which pattern each holds."""
    generator = torch.Generator().manual_seed(0)
    patterns = 3 * F.avg_pool1d(torch.randn(CLASSES, BANDS, FRAMES, generator=generator), 9, 1, 4)
    generator.manual_seed(seed)
    labels = torch.randint(0, CLASSES, (count,), generator=generator)
    return patterns[labels] + torch.randn(count, BANDS, FRAMES, generator=generator), labels


def train(network: nn.Module, by_frame: Callable[[Tensor], Tensor], steps: int = 120) -> nn.Module:
    """Train a network to name the pattern from the last third of its frames."""
    x, labels = make_patterns(TRAINING, 1)
    x, optimizer = by_frame(x), torch.optim.AdamW(network.parameters(), 3e-3)
    for step in range(steps):
        picked = torch.arange(32) + 32 * (step % (TRAINING // 32))
        logits = by_frame(network(x[picked]))[:, :, -FRAMES // 3 :].mean(2)
        loss = F.cross_entropy(logits, labels[picked])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return network.eval()


def list_settings(best: Callable[[], Quantization], worst: Callable[[Quantization], str]) -> Iterator[Quantization]:
    """Yield the settings in the order of the search; `best` and `worst` are asked once those before have been measured."""
    yield from (Quantization(method=method) for method in METHODS)  # type: ignore[arg-type]
    yield replace(best(), equalization=True)
    plain = best()
    yield from (replace(plain, refinement=name) for name in REFINEMENTS)  # type: ignore[arg-type]
    yield replace(best(), int16=(worst(plain),))
    yield Quantization("int16")


def measure(name: str, target: str, worker: Worker) -> None:
    """Print the table of one model."""
    turn: Callable[[Tensor], Tensor] = (lambda x: x.mT) if name == "gru" else (lambda x: x)
    torch.manual_seed(0)
    network = train(MODELS[name](), turn)
    recordings = list(turn(make_patterns(TRAINING, 1)[0][:64]))
    others = list(turn(make_patterns(HELD_OUT, 2)[0]))
    model = convert(network, recordings[0], Streaming(window=2))
    samples, reference = calibrate(model, recordings), prepare_reference(model, others)
    with torch.no_grad():
        decided = turn(network(torch.stack(others))).argmax(1)
    print(f"\n{name}: {sum(p.numel() for p in network.parameters()):,} parameters, {target}")
    print(f"{'candidate':46} {'outputs':>8} {'gain':>8} {'agree':>8} {'flash':>8} {'step':>7} {'seconds':>8}")
    found: dict[Quantization, tuple[float, QuantizedModel]] = {}

    def best() -> Quantization:
        return min(found, key=lambda setting: found[setting][0])

    def worst(setting: Quantization) -> str:
        return rank_modules(model, found[setting][1], others, worker=worker)[0].module

    for setting in list_settings(best, worst):
        words = describe(setting.precision, setting.method, setting.equalization, setting.int16, setting.refinement)
        try:
            seconds, quantized = timed(model, samples, setting, target, worker)
        except LightningEspError as error:
            print(f"{words:46} {str(error).partition('. ')[0]}")
            continue
        noise = max(measure_outputs(quantized, reference, worker).values())
        found[setting] = noise, quantized
        first = next(iter(found.values()))[0]
        agree = (turn(QuantizedStreaming(quantized)(torch.stack(others))).argmax(1) == decided).float().mean()
        gain = (decibels(noise) or 0.0) - (decibels(first) or 0.0)
        cost = quantized.estimate
        step = "-" if cost is None or cost.step_us is None else f"{cost.step_us:.0f} us"
        print(
            f"{words:46} {decibels(noise) or 0.0:5.1f} dB {gain:+5.1f} dB {100 * agree:6.2f} % "
            f"{0 if cost is None else cost.flash:8,} {step:>7} {seconds:8.1f}"
        )


def timed(
    model: StreamingModel, samples: CalibrationSet, setting: Quantization, target: str, worker: Worker
) -> tuple[float, QuantizedModel]:
    """Quantize a model; the seconds that it took stand in front."""
    began = time.perf_counter()
    quantized = quantize(model, samples, setting, target, worker=worker)
    return time.perf_counter() - began, quantized


def main() -> None:
    """Print the table of each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="esp32s3")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    arguments = parser.parse_args()
    with Worker() as worker:
        for name in arguments.models:
            measure(name, arguments.target, worker)


if __name__ == "__main__":
    main()
