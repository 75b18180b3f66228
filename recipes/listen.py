"""Accuracy of a keyword bundle on long audio: false accepts per hour and false rejects of its integer stream.

    python recipes/listen.py BUNDLE --data ../shared/datasets

Thresholds are chosen on validation clips, on held-out negatives and on held-out noise; then the test split is opened,
once. `--data` holds the folders `speech_commands`, `negatives` and `noise`, each with an `index.csv`. Prints the rates
beside their hours and 95 % bounds, and the detection error trade-off.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from listings import hold_out_files, read_index
from streams import Recording, make_streams
from torch import Tensor

from lightning_esp import Bundle, read_bundle
from lightning_esp.detection import (
    Choice,
    DetectorSettings,
    KeywordDetection,
    choose_thresholds,
)
from lightning_esp.detection.detector import NEVER
from lightning_esp.frontend import as_on_chip, compute_stream_features, restore_front_end
from lightning_esp.inspection.simulator import Simulation

Outputs = Callable[[Tensor], Tensor]


def make_stream_evaluator(bundle: Bundle) -> Outputs:
    """Return a function of a waveform [samples] to the dequantized outputs [classes, frames] of the integer stream."""
    simulation = Simulation(bundle)
    front_end = as_on_chip(restore_front_end(bundle.manifest["frontend"]), simulation.quantized.target)

    @torch.inference_mode()
    def listen(waveform: Tensor) -> Tensor:
        output: Tensor = simulation.run(compute_stream_features(front_end, [waveform])[0].features)
        return output

    return listen


def read_streams(root: Path, split: str, decibels: float) -> list[Recording]:
    """The keyword stream of a split, then its speech without keywords and its noise."""
    clips, speech, noise = (read_index(root / name) for name in ("speech_commands", "negatives", "noise"))
    return make_streams(clips, hold_out_files(speech), hold_out_files(noise), split, decibels)


def choose(listen: Outputs, root: Path, labels: Sequence[str], period: float, rate: float, decibels: float) -> Choice:
    """Choose thresholds on the validation split."""
    thresholds = tuple(NEVER if label.startswith("_") else 0.5 for label in labels)
    settings = DetectorSettings(thresholds, average=round(0.3 / period), minimum=5, refractory=round(0.7 / period))
    streams = read_streams(root, "val", decibels)
    return choose_thresholds(listen, streams, settings, labels, period, rate)


def judge(
    listen: Outputs, recordings: Sequence[Recording], choice: Choice, labels: Sequence[str], period: float
) -> KeywordDetection:
    """Evaluate the chosen detector on recordings."""
    metric = KeywordDetection(choice.settings, labels, period)
    for waveform, keywords in recordings:
        metric.update(listen(waveform), keywords)
    return metric


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder of speech_commands, negatives and noise")
    parser.add_argument(
        "--rate", type=float, default=1.0, help="false accepts per hour to aim at on the validation split"
    )
    parser.add_argument("--decibels", type=float, default=10.0, help="signal-to-noise ratio of the keyword streams")
    arguments = parser.parse_args()

    bundle = read_bundle(arguments.bundle)
    labels, period = list(bundle.labels), bundle.manifest["streaming"]["frame_period"]
    listen = make_stream_evaluator(bundle)
    choice = choose(listen, arguments.data, labels, period, arguments.rate, arguments.decibels)
    print("validation: false accepts", choice.false_accepts)
    print("validation: missed", choice.false_rejects)
    print("thresholds:", {label: t for label, t in zip(labels, choice.settings.thresholds, strict=True) if t != NEVER})
    keywords, *silent = read_streams(arguments.data, "test", arguments.decibels)
    quiet = judge(listen, silent, choice, labels, period)
    print("test, speech without keywords and noise: false accepts", quiet.false_accepts())
    spoken = judge(listen, [keywords], choice, labels, period)
    print(
        f"test, keywords at {arguments.decibels:g} dB:",
        {name: round(float(v), 3) for name, v in spoken.compute().items()},
    )
    # Both together: the hours are those of speech without keywords and noise, the keywords those of the keyword stream.
    print("common threshold, false accepts in the background, share of keywords missed:")
    for point in range(9, len(spoken.grid), 10):
        missed = 1 - int(spoken.curve_hits[point]) / int(spoken.keywords)
        print(f"  {spoken.grid[point]:.2f}  {int(quiet.curve_accepts[point]):4d}  {missed:.3f}")


if __name__ == "__main__":
    main()
