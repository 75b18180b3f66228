"""Prints how long an export of the recipe's network takes, as a ratio to the time spent inside esp-ppq.

    python benchmarks/export.py                                              # calibrated on the tiny set
    python benchmarks/export.py --root ../shared/datasets/speech_commands    # with proof 5 on 604 test clips

The export is the one that `EspStreamingExport` runs at the end of `fit`. Time inside esp-ppq is the processor time of
its process: importing it, calibrating, writing the files, and stepping its executor in the proofs; part of it passes
while our side works, so what we waited for it is printed as well. The weights are random, so the metrics mean nothing
and may fall by any amount; none of the work depends on what the weights are.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

from lightning_esp import EspStreamingExport, Quantization
from lightning_esp.quantization import Worker
from lightning_esp.training.task_metrics import TaskMetrics

sys.path.append(str(Path(__file__).parents[1] / "recipes"))
from kws_tcn import KeywordSpotter
from speech_data import TINY_SET, SpeechData


def build_spotter(data: SpeechData) -> KeywordSpotter:
    """The recipe's model with statistics as after training."""
    torch.manual_seed(0)
    spotter = KeywordSpotter(data.labels)
    for module in spotter.network.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    spotter.frontend.measure(data.sample_waveforms(100))
    return spotter


@contextmanager
def timed(owner: type, name: str) -> Iterator[list[float]]:
    """Collect the seconds that every call of a method takes."""
    seconds: list[float] = []
    original: Callable[..., Any] = getattr(owner, name)

    def run(*arguments: Any, **options: Any) -> Any:
        start = time.perf_counter()
        try:
            return original(*arguments, **options)
        finally:
            seconds.append(time.perf_counter() - start)

    setattr(owner, name, run)
    try:
        yield seconds
    finally:
        setattr(owner, name, original)


def children_seconds() -> float:
    """Processor time of all processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=TINY_SET, help="a folder with an index.csv")
    parser.add_argument("--target", default="esp32s3")
    arguments = parser.parse_args()

    data = SpeechData(root=arguments.root)
    spotter = build_spotter(data)
    data.dataset("val"), data.dataset("test")  # decoded in advance, as after a training run
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    with (
        tempfile.TemporaryDirectory() as directory,
        timed(Worker, "call") as waited,
        timed(TaskMetrics, "__call__") as task,
    ):
        callback = EspStreamingExport(arguments.target, directory, quantization=Quantization(tolerance=1.0))
        start, before = time.perf_counter(), children_seconds()
        callback.export(trainer, spotter, datamodule=data)
        total, inside = time.perf_counter() - start, children_seconds() - before

    export = total - sum(task)
    print(
        f"export without proof 5: {export:.1f} s; inside esp-ppq: {inside:.1f} s, of which we waited {sum(waited):.1f} s"
    )
    print(f"ratio: {export / inside:.2f}")
    clips = f"{len(data.dataset('val'))} validation and {len(data.dataset('test'))} test clips"
    print(f"proof 5 on {clips}: {sum(task):.1f} s; all: {total:.1f} s")


if __name__ == "__main__":
    main()
