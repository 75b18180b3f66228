"""Prints how many times faster `calibrate` builds a calibration set than a loop over slices, and that both are equal.

    python benchmarks/calibration.py

The loop is the plain one: a recording after the other, a slice after the other, each noted with the caches that it
meets (`loop_over_slices`, below), the network stepped by hand (`step`). Both run under `inference_mode`, each with one
or two torch threads, whichever suits it better, on the network of `recipes/kws_tcn.py`; they take turns, and the
fastest of each is compared.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_esp import Calibration, Streaming, StreamingModel, calibrate, convert

sys.path.append(str(Path(__file__).parents[1] / "recipes"))
from tcn import KeywordTcn

BANDS = 32
LIMIT = 1e-5
Values = dict[str, Tensor]


def convs_of(network: KeywordTcn) -> dict[str, nn.Conv1d]:
    """The convolutions that need past frames, by the name that the export gives to their caches."""
    convs = {name: conv for name, conv in network.named_modules() if isinstance(conv, nn.Conv1d)}
    return {f"{name}.cache": conv for name, conv in convs.items() if conv.kernel_size != (1,)}


def convolve(conv: nn.Conv1d, x: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
    """Frames of a causal convolution, its past frames in front, and the past frames for the next ones."""
    joined = torch.cat([cache, x], dim=2)
    y = F.conv1d(joined, conv.weight, conv.bias, dilation=conv.dilation, groups=conv.groups)
    return y, joined[:, :, -cache.shape[2] :]


def step(network: KeywordTcn, x: Tensor, caches: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """The network's next frames, as one would write them by hand."""
    x, new_cache = convolve(network.stem, x, caches[0])
    x, new_caches = F.relu(network.norm(x)), [new_cache]
    for block, cache in zip(network.blocks, caches[1:], strict=True):
        y, new_cache = convolve(block.depthwise, x, cache)
        x = F.relu(x + block.norm(block.pointwise(y)))
        new_caches.append(new_cache)
    return network.head(x), new_caches


@torch.inference_mode()
def loop_over_slices(network: KeywordTcn, recordings: list[Tensor], window: int) -> Values:
    """Collect slices and the caches that they meet, with a batch of one."""
    convs = convs_of(network)
    past = [(conv.kernel_size[0] - 1) * conv.dilation[0] for conv in convs.values()]
    collected: dict[str, list[Tensor]] = {"x": [], **{name: [] for name in convs}}
    for recording in recordings:
        caches = [torch.zeros(1, conv.in_channels, n) for conv, n in zip(convs.values(), past, strict=True)]
        for piece in recording.unsqueeze(0).split(window, dim=2):
            for values, tensor in zip(collected.values(), [piece, *caches], strict=True):
                values.append(tensor)
            _, caches = step(network, piece, caches)
    return {name: torch.cat(tensors) for name, tensors in collected.items()}


def build_network() -> KeywordTcn:
    """The recipe's network, with statistics as after training."""
    network = KeywordTcn(BANDS, 12, channels=80, kernel=5, dilations=(1, 2, 4, 8, 1, 2, 4, 8))
    for name, value in network.named_buffers():
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif name.endswith("running_mean"):
            value.normal_(0, 0.2)
    return network.eval()


def fastest(functions: list[Callable[[], Values]], rounds: int) -> list[tuple[float, int]]:
    """Seconds and threads of the fastest run of each; all take turns, so that a busy machine slows all."""
    times: list[list[tuple[float, int]]] = [[] for _ in functions]
    for _ in range(rounds):
        for threads in (1, 2):
            torch.set_num_threads(threads)
            for found, function in zip(times, functions, strict=True):
                start = time.perf_counter()
                function()
                found.append((time.perf_counter() - start, threads))
    return [min(found) for found in times]


def largest_difference(ours: Values, theirs: Values, recordings: int) -> float:
    """Largest difference of any value; `calibrate` goes window by window, the loop recording by recording."""
    worst = 0.0
    for name, values in theirs.items():
        by_window = values.unflatten(0, (recordings, -1)).transpose(0, 1).flatten(0, 1)
        assert ours[name].shape == by_window.shape
        worst = max(worst, float((ours[name] - by_window).abs().max()))
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recordings", type=int, default=64)
    parser.add_argument("--windows", type=int, default=100, help="windows of a recording")
    parser.add_argument("--window", type=int, default=1, help="frames of a window; the recipe's default is 1")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()

    torch.manual_seed(0)
    network = build_network()
    recordings = list(torch.randn(arguments.recordings, BANDS, arguments.windows * arguments.window))
    model: StreamingModel = convert(network, recordings[0], Streaming(window=arguments.window))
    everything = Calibration(max_recordings=len(recordings), max_windows=len(recordings) * arguments.windows)

    def loop() -> Values:
        return loop_over_slices(network, recordings, arguments.window)

    def batched() -> Values:
        return calibrate(model, recordings, everything).values

    difference = largest_difference(batched(), loop(), len(recordings))
    (slow, slow_threads), (fast, fast_threads) = fastest([loop, batched], arguments.rounds)
    print(f"{len(recordings)} recordings of {arguments.windows} windows of {arguments.window} frame(s)")
    print(f"loop over slices: {slow:.3f} s with {slow_threads} thread(s)")
    print(f"calibrate:        {fast:.3f} s with {fast_threads} thread(s)")
    print(f"ratio: {slow / fast:.1f}")
    print(f"largest difference: {difference:.2g} (limit {LIMIT:g})")
    if difference > LIMIT:
        sys.exit("the calibration sets differ")


if __name__ == "__main__":
    main()
