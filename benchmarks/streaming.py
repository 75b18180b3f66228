"""Prints how long a step of our streamed float models takes, against two other libraries, and that all outputs are equal.

    pip install -c constraints.txt -e '.[benchmarks]'
    python benchmarks/streaming.py

The architectures are those that the other library can express: continual-inference takes undilated convolutions in a
row, residual or not, and GRUs; pytorch-tcn has one network with options. Ours is converted from the same offline module,
or from a plain one with the same weights. Batch 1, one frame per step, `inference_mode`; both take turns step by step,
with one and with two torch threads, and the median time with whichever suits each is compared. The conversion of the
network of `recipes/kws_tcn.py` is timed too.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_esp import StreamingModel, convert

sys.path.append(str(Path(__file__).parents[1] / "recipes"))
from tcn import KeywordTcn

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import continual
        from pytorch_tcn import TCN
except ImportError as error:
    sys.exit(f"{error}; run: pip install -c constraints.txt -e '.[benchmarks]'")

BANDS, CHANNELS, KERNEL = 32, 64, 4
LIMIT, SECONDS = 1e-5, 2.0
Step = Callable[[Tensor], Tensor | None]


@dataclass(frozen=True)
class Case:
    """One architecture: `start` gives a step function of the other library from the initial state."""

    name: str
    offline: nn.Module
    start: Callable[[], Step]


class Residual(nn.Module):
    """A convolution without padding, and a skip connection that drops the same first frames."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(CHANNELS, CHANNELS, KERNEL)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return F.relu(x[:, :, KERNEL - 1 :] + self.conv(x))


class Recurrent(nn.Module):
    """A GRU over `[batch, channels, time]`."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(BANDS, CHANNELS, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        y: Tensor = self.gru(x.transpose(1, 2))[0]
        return y.transpose(1, 2)


def shake(module: nn.Module) -> nn.Module:
    """Statistics and biases as after training."""
    for name, value in [*module.named_buffers(), *module.named_parameters()]:
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif name.endswith("running_mean"):
            value.normal_(0, 0.2)
        elif name.endswith("bias"):
            value.data.normal_(0, 0.2)
    return module.eval()


def continual_cases() -> Iterator[Case]:
    """Yield the cases that continual-inference can express."""

    def start(network: Any) -> Callable[[], Step]:
        def begin() -> Step:
            network.clean_state()
            return lambda frame: _frame(network.forward_step(frame[:, :, 0]))

        return begin

    sizes = [(BANDS, CHANNELS), *[(CHANNELS, CHANNELS)] * 7]
    plain = nn.Sequential()
    for inputs, outputs in sizes:
        plain.extend([nn.Conv1d(inputs, outputs, KERNEL), nn.BatchNorm1d(outputs), nn.ReLU()])
    shake(plain)
    # It writes into the modules that it is given.
    yield Case("8 convs with batch norm", plain, start(continual.Sequential.build_from(copy.deepcopy(plain)).eval()))

    first, blocks = nn.Conv1d(BANDS, CHANNELS, 1), [Residual() for _ in range(8)]
    residual = shake(nn.Sequential(first, *blocks))
    convs = [continual.Conv1d.build_from(copy.deepcopy(block.conv)) for block in blocks]
    theirs = [part for c in convs for part in (continual.Residual(c, residual_shrink="leading"), nn.ReLU())]
    stem = continual.Conv1d.build_from(copy.deepcopy(first))
    yield Case("8 residual convs", residual, start(continual.Sequential(stem, *theirs).eval()))

    recurrent = Recurrent()
    shake(recurrent)
    gru = continual.GRU(BANDS, CHANNELS, batch_first=True)
    gru.load_state_dict(recurrent.gru.state_dict())
    yield Case("GRU", recurrent, start(gru.eval()))


def _frame(result: object) -> Tensor | None:
    return result.unsqueeze(2) if isinstance(result, Tensor) else None


def tcn_cases() -> Iterator[Case]:
    """Forms of pytorch-tcn's network. Ours is converted from its very code."""

    def start(network: Any) -> Callable[[], Step]:
        def begin() -> Step:
            fresh = copy.deepcopy(network)
            return lambda frame: fresh(frame, inference=True)

        return begin

    forms: dict[str, dict[str, object]] = {
        "weight norm": {},
        "batch norm": {"use_norm": "batch_norm"},
        "skip connections": {"use_norm": None, "use_skip_connections": True},
        "gated, layer norm": {"use_norm": "layer_norm", "use_gate": True},
    }
    for name, form in forms.items():
        network = shake(TCN(BANDS, [CHANNELS] * 4, kernel_size=KERNEL, **form))
        yield Case(name, copy.deepcopy(network), start(network))


def our_step(model: StreamingModel) -> Step:
    """A step function of ours, from the initial state."""
    caches = model.initial_caches()

    def step(frame: Tensor) -> Tensor:
        nonlocal caches
        output, caches = model.step(frame, caches)
        assert isinstance(output, Tensor)
        return output

    return step


@torch.inference_mode()
def take_turns(steps: tuple[Step, Step], recording: Tensor) -> list[tuple[float, Tensor]]:
    """Step both through a recording, in turns: the median seconds of a step, and all outputs."""
    times: tuple[list[float], list[float]] = ([], [])
    outputs: tuple[list[Tensor], list[Tensor]] = ([], [])
    for frame in torch.split(recording, 1, dim=2):
        for step, spent, found in zip(steps, times, outputs, strict=True):
            start = time.perf_counter()
            output = step(frame)
            spent.append(time.perf_counter() - start)
            if output is not None:
                found.append(output)
    return [(median(spent), torch.cat(found, 2)) for spent, found in zip(times, outputs, strict=True)]


def compare(case: Case, frames: int) -> tuple[float, float, float]:
    """Median seconds of a step of ours and of theirs, and the largest difference of any output, relative above 1."""
    recording = torch.randn(1, BANDS, frames)
    model = convert(case.offline, recording)
    with torch.inference_mode():
        offline = case.offline(recording)
    ours, theirs, worst = [], [], 0.0
    for threads in (1, 2):
        torch.set_num_threads(threads)
        (our_time, our_output), (their_time, output) = take_turns((our_step(model), case.start()), recording)
        ours.append(our_time)
        theirs.append(their_time)
        # Ours gives a frame for every step; those before the first offline one are dropped.
        for values in (our_output[:, :, model.delay :], output):
            worst = max(worst, float((values - offline).abs().max() / offline.abs().max().clamp(min=1)))
    return min(ours), min(theirs), worst


def time_conversion() -> float:
    """Seconds to convert the recipe's network, the fastest of five times."""
    network = shake(KeywordTcn(BANDS, 12, channels=80, kernel=5, dilations=(1, 2, 4, 8, 1, 2, 4, 8)))
    times = []
    for _ in range(5):
        start = time.perf_counter()
        convert(network, torch.randn(1, BANDS, 97))
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=300, help="steps of each")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    seconds = time_conversion()
    print(f"converting the recipe's network: {seconds:.2f} s (limit {SECONDS:g} s)")
    wrong = seconds > SECONDS
    for library, cases in (("continual-inference", continual_cases()), ("pytorch-tcn", tcn_cases())):
        for case in cases:
            ours, theirs, difference = compare(case, arguments.frames)
            print(
                f"{library}, {case.name}: ours {ours * 1e6:.0f} us, theirs {theirs * 1e6:.0f} us a step, "
                f"ratio {ours / theirs:.2f}; largest difference {difference:.2g} (limit {LIMIT:g})"
            )
            wrong = wrong or difference > LIMIT
    if wrong:
        sys.exit("outputs differ, or the conversion takes too long")


if __name__ == "__main__":
    main()
