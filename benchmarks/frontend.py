"""Prints how long `LogMel` takes, as a ratio to torchaudio's `MelSpectrogram` on the same batch; below 1 is faster.

    python benchmarks/frontend.py

`MelSpectrogram` computes as many bands from frames and transforms of the same size, without pre-emphasis, removal of
the offset and logarithm, which `LogMel` does as well. The two take turns, and the medians are compared.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torchaudio
from torch import Tensor

from lightning_esp.frontend import LogMel


def measure(function: Callable[[Tensor], Tensor], batch: Tensor) -> float:
    start = time.perf_counter()
    function(batch)
    return time.perf_counter() - start


def compare(ours: torch.nn.Module, theirs: torch.nn.Module, batch: Tensor, rounds: int) -> tuple[float, float]:
    """Return the median seconds of both, measured in turns so that a busy machine slows both."""
    pairs = [(measure(ours, batch), measure(theirs, batch)) for _ in range(rounds + 3)][3:]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=32, help="recordings of one second")
    parser.add_argument("--bands", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=50)
    arguments = parser.parse_args()

    batch = 0.1 * torch.randn(arguments.batch, 16000, generator=torch.Generator().manual_seed(0))
    ours = LogMel(num_mel_bins=arguments.bands)
    theirs = torchaudio.transforms.MelSpectrogram(
        16000, n_fft=512, win_length=400, hop_length=160, n_mels=arguments.bands, f_min=80.0, f_max=7600.0
    )
    modes = {"inference_mode": torch.inference_mode, "no_grad": torch.no_grad}
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for name, mode in modes.items():
            with mode():
                seconds, reference = compare(ours, theirs, batch, arguments.rounds)
            print(
                f"{name:14s} threads={threads}: LogMel {seconds * 1e3:6.2f} ms, "
                f"MelSpectrogram {reference * 1e3:6.2f} ms, ratio {seconds / reference:.2f}"
            )


if __name__ == "__main__":
    main()
