"""The arguments of `lightning-esp`, and what it does with them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lightning_esp.cli.audition import Audition, hear_waveform
from lightning_esp.cli.bundles import add_commands
from lightning_esp.cli.exporting import add_command
from lightning_esp.cli.plot import draw_audition
from lightning_esp.cli.samples import read_recording, record_microphone
from lightning_esp.errors import ConfigurationError, LightningEspError

_DETECTOR = ("threshold", "average", "minimum", "refractory", "activation")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: what follows the name of the command; None: those of the process.

    Returns:
        0; 2 where an argument is wrong; 1 where a file, a bundle or a model is. The message is on stderr.
    """
    options = _make_parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except LightningEspError as error:
        print(f"lightning-esp: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigurationError) else 1


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("lightning-esp", description="Streaming models on ESP32, seen from the host.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    simulate = commands.add_parser(
        "simulate",
        help="hear a recording as the chip does, and print events",
        description="Runs the front end, the integer network and the detector of a bundle over a recording, and prints events with their times.",
    )
    simulate.add_argument("bundle", type=Path, help="directory of a bundle")
    simulate.add_argument(
        "recording",
        type=Path,
        nargs="?",
        help="WAV, FLAC, Ogg and what else libsndfile reads, at the front end's sample rate",
    )
    simulate.add_argument(
        "--microphone",
        type=float,
        metavar="SECONDS",
        help="record that long from this machine's microphone instead (needs sounddevice)",
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
    simulate.set_defaults(run=_simulate)
    add_commands(commands)
    add_command(commands)
    return parser


def _simulate(options: argparse.Namespace) -> int:
    if (options.recording is None) == (options.microphone is None):
        raise ConfigurationError("simulate takes either a recording or --microphone SECONDS; give one of them.")

    def load(rate: int) -> object:
        if options.microphone is not None:
            return record_microphone(options.microphone, rate)
        return read_recording(options.recording, rate)

    changes = {name: value for name in _DETECTOR if (value := getattr(options, name)) is not None}
    heard = hear_waveform(options.bundle, load, options.target, changes)
    _print_events(heard)
    if options.plot is not None:
        draw_audition(heard, options.plot)
        print(f"plot: {options.plot}")
    return 0


def _print_events(heard: Audition) -> None:
    for event in heard.events:
        print(f"event {heard.name(event.label)} ({event.label}) at {heard.time(event):.3f} s, score {event.score:.3f}")
    seconds = len(heard.samples) / heard.sample_rate
    print(f"{len(heard.events)} events in {seconds:.3f} s, {len(heard.scores)} output frames, {heard.target}")
    if not heard.has_detector:
        print("The bundle has no detector: export with Deployment(detector=...), or give --threshold.")
