"""Prints how long an export of the recipe's network takes, as a ratio to the time spent waiting for esp-ppq.

    python benchmarks/export.py                                              # calibrated on the tiny set
    python benchmarks/export.py --root ../shared/datasets/speech_commands    # with proof 5 on 604 test clips

The export is the one that `EspStreamingExport` runs at the end of `fit`. Time for esp-ppq is the time in which we wait
for its process: importing it, calibrating, writing the files, and stepping its executor in the proofs. The weights are
random, so the metrics mean nothing and may fall by any amount; none of the work depends on what the weights are.
"""

from __future__ import annotations

import argparse
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
from lightning_esp.task_metrics import TaskMetrics

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
        timed(Worker, "call") as esp_ppq,
        timed(TaskMetrics, "__call__") as task,
    ):
        callback = EspStreamingExport(arguments.target, directory, quantization=Quantization(tolerance=1.0))
        start = time.perf_counter()
        callback.export(trainer, spotter, datamodule=data)
        total = time.perf_counter() - start

    export = total - sum(task)
    print(f"export without proof 5: {export:.1f} s, of which waiting for esp-ppq: {sum(esp_ppq):.1f} s")
    print(f"ratio: {export / sum(esp_ppq):.2f}")
    clips = len(data.dataset("test"))
    print(
        f"proof 5 on {len(data.dataset('val'))} validation and {clips} test clips: {sum(task):.1f} s; all: {total:.1f} s"
    )


if __name__ == "__main__":
    main()
