"""Prints what quantization-aware training gains, and what it costs.

    python benchmarks/quantization_aware.py [--epochs 24] [--more 6] [--target esp32p4] [--seeds 0 1]
    python benchmarks/quantization_aware.py --keywords 0 1 2 3

A GRU that takes noise off tones is trained in float, and then, from the same weights, for a few epochs more: once in float, once
with `EspQuantAwareTraining`. Each of the three is exported in int8. Printed are the scale-invariant signal-to-distortion ratios
that the float network and the integers of the bundle leave of recordings that did not train it, and seconds an epoch of either
training, without what is done once. So are the seconds of one step of the keyword network of the recipes in either arithmetic.

With `--keywords`, a small network of the keyword recipe is trained on `datasets/tiny_kws` for 8 epochs with each seed, exported in
int8 for the ESP32-S3, trained as the chip computes for 3 more, and exported again: accuracies in float and in integers.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_esp import (
    Bundle,
    Calibration,
    EspQuantAwareTraining,
    EspStreamingExport,
    Quantization,
    Simulation,
    Streaming,
    convert,
)
from lightning_esp.quantization import Worker
from lightning_esp.quantization_aware import QuantizedForward, prepare

sys.path.append(str(Path(__file__).parents[1] / "recipes"))
from kws_tcn import KeywordSpotter
from speech_data import SpeechData
from tcn import KeywordTcn

SAMPLES, FRAMES, CELLS = 16, 48, 48
RECORDINGS = {"train": 1024, "test": 128}
# Decibels of the signals over their noise.
LEVEL = 30


class Network(nn.Module):
    """Frames of samples [batch, frames, samples] -> what is left of them without noise."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.head = nn.GRU(SAMPLES, CELLS, batch_first=True), nn.Linear(CELLS, SAMPLES)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        found: Tensor = x + self.head(self.gru(x)[0])
        return found


def si_sdr(found: Tensor, wanted: Tensor) -> Tensor:
    """Scale-invariant signal-to-distortion ratio of each recording, in decibels."""
    found, wanted = found.flatten(1), wanted.flatten(1)
    scale = (found * wanted).sum(1, keepdim=True) / wanted.square().sum(1, keepdim=True)
    target = scale * wanted
    return 10 * torch.log10(target.square().sum(1) / ((found - target).square().sum(1) + 1e-9) + 1e-9)


def mix(split: str) -> tuple[Tensor, Tensor]:
    """Noisy and clean signals [recordings, frames, samples], each the sum of three tones."""
    count = RECORDINGS[split]
    generator = torch.Generator().manual_seed(count)

    def draw() -> Tensor:
        return torch.rand(count, 3, 1, generator=generator)

    phases = 2 * torch.pi * ((0.01 + 0.2 * draw()) * torch.arange(FRAMES * SAMPLES) + draw())
    clean = (draw() * torch.sin(phases)).sum(1)
    clean = clean / clean.std(1, keepdim=True)
    noise = 10 ** (-LEVEL / 20) * torch.randn(clean.shape, generator=generator)
    return (clean + noise).unflatten(1, (FRAMES, SAMPLES)), clean.unflatten(1, (FRAMES, SAMPLES))


class Denoiser(pl.LightningModule):
    """Trains the network by what it leaves of the signals."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate, self.network = rate, Network()
        self.seconds: list[float] = []

    def on_train_epoch_start(self) -> None:
        """Take the time behind what callbacks do."""
        self.began = 0.0

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Begin to count."""
        self.began = self.began or time.perf_counter()

    def on_train_epoch_end(self) -> None:
        """Count an epoch."""
        self.seconds.append(time.perf_counter() - self.began)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the loss of a batch of noisy and clean signals."""
        noisy, clean = batch
        return -si_sdr(self.network(noisy), clean).mean()

    def configure_optimizers(self) -> Any:
        """Return Adam, its rate falling to nothing."""
        optimizer = torch.optim.Adam(self.parameters(), self.rate)
        steps = int(self.trainer.estimated_stepping_batches)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def make_trainer(epochs: int, callbacks: list[pl.Callback], **options: Any) -> pl.Trainer:
    """Return a trainer that says nothing and keeps nothing but the bundle."""
    return pl.Trainer(
        max_epochs=epochs,
        callbacks=callbacks,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


def train(module: Denoiser, data: TensorDataset, epochs: int, folder: Path, target: str, *aware: pl.Callback) -> Bundle:
    """Train for some epochs, and export."""
    export = EspStreamingExport(
        target=target,
        output_dir=folder,
        dry_run=False,
        calibration=Calibration(max_recordings=64),
        quantization=Quantization(min_snr_db=float("-inf")),
    )
    trainer = make_trainer(epochs, [*aware, export], default_root_dir=folder.parent)
    trainer.fit(module, DataLoader(data, 32, shuffle=True))
    assert export.bundle is not None
    return export.bundle


@torch.no_grad()
def measure(module: Denoiser, bundle: Bundle, noisy: Tensor, clean: Tensor) -> tuple[float, float]:
    """Decibels of what the float network and the integers leave."""
    integers = torch.stack(list(Simulation(bundle).run(list(noisy))))
    return float(si_sdr(module.eval().network(noisy), clean).mean()), float(si_sdr(integers, clean).mean())


def compare(seed: int, epochs: int, more: int, target: str) -> None:
    """Print what each kind of training makes of one seed."""
    pl.seed_everything(seed, verbose=False)
    data, held = TensorDataset(*mix("train")), mix("test")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        module = Denoiser(4e-3)
        bundle = train(module, data, epochs, folder / "float", target)
        rows = {"float": (module, bundle)}
        for kind, callbacks in (("float, more", []), ("aware", [EspQuantAwareTraining(start=0)])):
            again = copy.deepcopy(module)
            again.rate, again.seconds = 1e-3, []
            again._trainer = None
            pl.seed_everything(seed + 1, verbose=False)
            rows[kind] = (again, train(again, data, more, folder / kind.replace(", ", "_"), target, *callbacks))
        for kind, (trained, made) in rows.items():
            in_float, in_integers = measure(trained, made, *held)
            seconds = min(trained.seconds)
            print(
                f"seed {seed}, {kind:<12}float {in_float:5.2f} dB, int8 {in_integers:5.2f} dB, {seconds:5.1f} s an epoch",
                flush=True,
            )


def time_steps(target: str) -> None:
    """Print the seconds of one step of the keyword network in either arithmetic."""
    network = KeywordTcn(32, 12, 72, 5, (1, 2, 4, 8, 1, 2, 4, 8), (16, 24, 32))
    batch = 3 * torch.randn(32, 32, 100)
    network(batch)
    recordings = [3 * torch.randn(32, 100) for _ in range(16)]

    def make(module: nn.Module, window: int | None) -> Any:
        return convert(module, recordings[0], Streaming(window=window), targets=(target,))

    with Worker() as worker:
        options = (network.eval(), make, recordings, Calibration(), Quantization(), target)
        forward = QuantizedForward(prepare(*options, worker=worker).image(), network)
    plain, aware = seconds_of(network.train(), batch), seconds_of(forward, batch)
    print(
        f"a step of the keyword network: {plain:.3f} s in float, {aware:.3f} s as the {target}, {aware / plain:.2f} times"
    )


def seconds_of(function: Any, batch: Tensor) -> float:
    """Seconds of the fastest of five steps, forward and backward."""
    found = []
    for _ in range(5):
        began = time.perf_counter()
        function(batch).square().mean().backward()
        found.append(time.perf_counter() - began)
    return min(found)


def compare_keywords(seed: int) -> None:
    """Print accuracies of the keyword recipe before and after."""
    pl.seed_everything(seed, verbose=False)
    data = SpeechData()
    module = KeywordSpotter(list(data.labels), channels=24, dilations=(1, 2, 4, 8), maps=(8, 8), mine_every=0)
    for kind, epochs, rate, callbacks in (("float", 8, 7e-3, []), ("aware", 3, 1e-3, [EspQuantAwareTraining(start=0)])):
        module.learning_rate, module._trainer = rate, None
        with tempfile.TemporaryDirectory() as name:
            export = EspStreamingExport(
                output_dir=Path(name) / "bundle", dry_run=False, quantization=Quantization(tolerance=float("inf"))
            )
            options = {"check_val_every_n_epoch": epochs, "num_sanity_val_steps": 0}
            trainer = make_trainer(epochs, [*callbacks, export], **options)
            trainer.fit(module, datamodule=SpeechData())
            assert export.bundle is not None
            metrics = export.bundle.manifest["metrics"]
        for metric in ("val_acc", "test_acc"):
            before, after = metrics["float"][metric], metrics["quantized"]["esp32s3"][metric]
            print(
                f"seed {seed}, {kind:<6}{metric:<9}{before:.3f} in float, {after:.3f} in int8, {100 * (after - before):+.1f} points",
                flush=True,
            )


def main() -> None:
    """Run all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--more", type=int, default=6)
    parser.add_argument("--target", default="esp32p4")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--keywords", type=int, nargs="+", default=[])
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for seed in options.keywords:
        compare_keywords(seed)
    if options.keywords:
        return
    time_steps(options.target)
    for seed in options.seeds:
        compare(seed, options.epochs, options.more, options.target)


if __name__ == "__main__":
    main()
