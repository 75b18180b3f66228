"""`lightning-esp simulate`: a recording through a bundle, as on the chip."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_esp.cli.arguments import make_place, seconds
from lightning_esp.errors import ConfigurationError

if TYPE_CHECKING:
    from lightning_esp.cli.stream_simulation import StreamSimulation

_DETECTOR = ("threshold", "average", "minimum", "refractory", "activation")


def add_commands(commands: Any) -> None:
    """Add the parser to the subparsers of `lightning-esp`."""
    simulate = commands.add_parser(
        "simulate",
        help="run a recording as the chip does, and print events",
        description="Runs the front end, the integer network and the detector of a bundle over a recording of any length, and "
        "prints events with their times.",
    )
    simulate.add_argument("bundle", type=Path, help="directory of a bundle")
    simulate.add_argument(
        "recording",
        type=Path,
        nargs="?",
        help="WAV, FLAC, Ogg and what else libsndfile reads, at the front end's sample rate; for a model that takes readings a CSV "
        "file with a column for each channel, or a NumPy file [frames, channels]",
    )
    simulate.add_argument(
        "--microphone",
        type=seconds,
        metavar="SECONDS",
        help="listen that long to this machine's microphone instead (needs sounddevice)",
    )
    simulate.add_argument("--target", help="which chip of the bundle; default: the first")
    simulate.add_argument("--plot", type=Path, metavar="PNG", help="draw scores over the waveform (needs matplotlib)")
    detector = simulate.add_argument_group("detector", "each option takes the place of the bundle's own value")
    detector.add_argument(
        "--threshold", type=float, help="for every class that has one; those named _like_this_ never fire"
    )
    detector.add_argument("--average", type=int, metavar="FRAMES", help="of the moving average")
    detector.add_argument("--minimum", type=int, metavar="FRAMES", help="in a row over the threshold")
    detector.add_argument("--refractory", type=int, metavar="FRAMES", help="of rest after an event")
    detector.add_argument("--activation", choices=("softmax", "sigmoid", "none"), help="makes scores of outputs")
    simulate.set_defaults(run=run_simulate)


def run_simulate(options: argparse.Namespace) -> int:
    """Run a recording piece by piece; print events as they come."""
    if (options.recording is None) == (options.microphone is None):
        raise ConfigurationError("simulate takes either a recording or --microphone SECONDS; give one of them.")
    changes = {name: value for name in _DETECTOR if (value := getattr(options, name)) is not None}
    if options.plot is not None:
        make_place("--plot", options.plot)

    from lightning_esp.cli.plot import Plot
    from lightning_esp.cli.progress import show_progress
    from lightning_esp.cli.readings import SUFFIXES
    from lightning_esp.cli.stream_simulation import StreamSimulation

    is_audio = options.recording is None or options.recording.suffix.lower() not in SUFFIXES
    simulation = StreamSimulation(options.bundle, options.target, changes, is_audio)
    count, blocks = _open(options, simulation)
    plot = None if options.plot is None else Plot(simulation)
    with show_progress(count, simulation.sample_rate) as progress:
        for piece in simulation.run(blocks):
            progress.advance(piece.count)
            for event in piece.events:
                progress.say(simulation.tell(event))
            if plot is not None:
                plot.add(piece)
    print(simulation.summary())
    if not simulation.has_detector:
        print("The bundle has no detector: export with Deployment(detector=...), or give --threshold.")
    if plot is not None:
        plot.write(options.plot)
        print(f"plot: {options.plot}")
    return 0


def _open(options: argparse.Namespace, simulation: StreamSimulation) -> tuple[int, Iterator[Any]]:
    """Return how much the recording holds, and its pieces."""
    from lightning_esp.cli.readings import open_readings
    from lightning_esp.cli.samples import open_recording, record_microphone

    if not simulation.listens:
        return open_readings(options.recording, simulation.columns)
    rate = round(simulation.sample_rate)
    source = (
        open_recording(options.recording, rate) if options.recording else record_microphone(options.microphone, rate)
    )
    return source.samples, source.blocks
