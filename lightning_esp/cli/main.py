"""The command `lightning-esp`: its parsers, and how it ends."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from typing import Any, TextIO

import lightning_esp
from lightning_esp.cli import bundles, creating, exporting, packing, simulating
from lightning_esp.errors import ConfigurationError, LightningEspError

# What a shell reports of a command that Ctrl-C ended.
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: what follows the name of the command; None: those of the process.

    Returns:
        0; 2 where an argument is wrong; 1 where a file, a bundle or a model is, or where nobody reads what is printed; 130
        after Ctrl-C. The message is one line on stderr.
    """
    try:
        return _run(sys.argv[1:] if arguments is None else list(arguments))
    except LightningEspError as error:
        return _fail(str(error), 2 if isinstance(error, ConfigurationError) else 1)
    except KeyboardInterrupt:
        return _fail("interrupted.", _INTERRUPTED)
    except BrokenPipeError:
        # `| head` has read enough, which is no error to speak of.
        _drop(sys.stdout, sys.stderr)
        return 1
    except OSError as error:
        reason = error.strerror or type(error).__name__
        if error.filename is not None:
            return _fail(f"{error.filename} cannot be read or written ({reason}).", 1)
        _drop(sys.stdout)
        return _fail(f"the output cannot be written ({reason}).", 1)


class _Parser(argparse.ArgumentParser):
    """A parser whose help can fail: argparse keeps silent about an output that takes nothing."""

    def _print_message(self, message: str, file: Any = None) -> None:
        stream = sys.stderr if file is None else file
        if stream is not None:
            stream.write(message)


def _run(arguments: list[str]) -> int:
    _speak_any_encoding()
    try:
        arguments, script = exporting.split_script(arguments)
        options = _make_parser().parse_args(arguments)
        options.script = script
        return int(options.run(options))
    finally:
        # Here, since a pipe that breaks when Python ends is an error that nothing can catch.
        if sys.stdout is not None:
            sys.stdout.flush()


def _make_parser() -> argparse.ArgumentParser:
    parser = _Parser("lightning-esp", description="Streaming models on ESP32, seen from the host.")
    parser.add_argument("--version", action="version", version=f"lightning-esp {lightning_esp.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for part in (creating, simulating, bundles, packing, exporting):
        part.add_commands(commands)
    return parser


def _speak_any_encoding() -> None:
    """Labels may have letters that the terminal lacks; they are printed as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _fail(message: str, code: int) -> int:
    try:
        print(f"lightning-esp: {' '.join(message.split())}", file=sys.stderr, flush=True)
    except OSError:
        # Nobody listens there either; the exit code tells.
        _drop(sys.stderr)
    return code


def _drop(*streams: TextIO | None) -> None:
    """Let Python find nothing to flush in a stream when it ends."""
    silent = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        if stream is not None:
            os.dup2(silent, stream.fileno())
    os.close(silent)
