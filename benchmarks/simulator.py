"""Prints how fast the files of a model run on the host, against real time and against esp-ppq's executor.

    python benchmarks/simulator.py

The network is that of `recipes/kws_tcn.py`, calibrated and quantized with the defaults, on frames of 10 ms. One
recording of 20 minutes runs through the written files as `simulate` runs it. On its first 30 seconds, esp-ppq's executor
steps the uncut graph window by window; both are compared per second of audio, and every integer of every stage output
must be the same. Of the simulator the fastest of several runs counts, of the executor its one long run.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from lightning_esp import QuantizedModel, Streaming, calibrate, convert, quantize
from lightning_esp.inspection.simulator import IntegerRecorder, QuantizedStreaming, integer_windows
from lightning_esp.quantization import Worker
from lightning_esp.quantization.executor import ExecutorStream

sys.path.append(str(Path(__file__).parents[1] / "recipes"))
from tcn import KeywordTcn

BANDS, CLASSES, FRAME_PERIOD = 32, 12, 0.01
T = TypeVar("T")
Results = Sequence[dict[str, np.ndarray]]


def build_network() -> KeywordTcn:
    """The recipe's network, with statistics as after training."""
    network = KeywordTcn(BANDS, CLASSES, channels=80, kernel=5, dilations=(1, 2, 4, 8, 1, 2, 4, 8))
    for name, value in network.named_buffers():
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif name.endswith("running_mean"):
            value.normal_(0, 0.2)
    return network.eval()


def quantize_network(target: str, window: int | None, worker: Worker) -> QuantizedModel:
    network = build_network()
    recordings = list(torch.randn(16, BANDS, 100))
    streaming = Streaming(window=window, frame_period=FRAME_PERIOD)
    model = convert(network, recordings[0], streaming)
    return quantize(model, calibrate(model, recordings), target=target, worker=worker)


def fastest(function: Callable[[], T], rounds: int) -> tuple[T, float]:
    """Return the function's result, and the seconds of its fastest run."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - start)
    return result, min(seconds)


def count_differences(ours: Results, theirs: Results, names: Sequence[str]) -> tuple[int, int]:
    """Count the integers of the named tensors that differ, and all of them."""
    pairs = [(a[name], b[name]) for a, b in zip(ours, theirs, strict=True) for name in names]
    return sum(int((a != b).sum()) for a, b in pairs), sum(a.size for a, _ in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20, help="length of the recording")
    parser.add_argument("--seconds", type=float, default=30, help="how much of it esp-ppq's executor steps through")
    parser.add_argument("--window", type=int, default=None, help="frames of a window; the smallest by default")
    parser.add_argument("--target", default="esp32s3")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()

    torch.manual_seed(0)
    with Worker() as worker:
        quantized = quantize_network(arguments.target, arguments.window, worker)
        recording = torch.randn(1, BANDS, round(60 * arguments.minutes / FRAME_PERIOD))
        module = QuantizedStreaming(quantized)
        output, whole = fastest(lambda: module(recording), arguments.rounds)
        assert output.shape == (1, CLASSES, recording.shape[2])

        windows = integer_windows(quantized, {"x": recording[:, :, : round(arguments.seconds / FRAME_PERIOD)]})
        stepped, steps = fastest(lambda: ExecutorStream(quantized, worker).run(windows), 1)
    names = [tensor.name for stage in quantized.stages for tensor in stage.outputs]
    simulated = IntegerRecorder(quantized).run(windows)
    differing, values = count_differences(simulated, stepped, names)

    ours, theirs = 60 * arguments.minutes / whole, arguments.seconds / steps
    print(f"{arguments.minutes:g} minutes of {FRAME_PERIOD * 1e3:g} ms frames, windows of {quantized.spec.window}")
    print(f"simulator:         {whole:.3f} s, {ours:.0f} times real time")
    print(f"esp-ppq, stepped:  {steps:.3f} s for {arguments.seconds:g} s, {theirs:.2f} times real time")
    print(f"ratio: {ours / theirs:.0f}")
    print(f"differing integers in the first {arguments.seconds:g} s: {differing} of {values}")
    if differing or not values or len(np.unique(simulated[-1][names[-1]])) < 2:
        sys.exit("the integers differ, or are all one")


if __name__ == "__main__":
    main()
