"""Values on the command line, checked before anything is loaded."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from lightning_esp.errors import ConfigurationError


def seconds(text: str) -> float:
    """Read a positive number of seconds.

    Raises:
        ArgumentTypeError: it is none; argparse makes a usage error of it.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} must be a positive number of seconds, such as 10")
    return value


def make_place(option: str, path: Path) -> Path:
    """Make the folder of a file that an option names, and return its path.

    Raises:
        ConfigurationError: the folder cannot be made, or the path is a folder itself.
    """
    if path.is_dir():
        raise ConfigurationError(f"{option} {path} is a folder; name a file in it.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(option, path, error) from None
    return path


def write_file(option: str, path: Path, data: bytes) -> Path:
    """Write a file that an option names, making its folder, and return its path.

    Raises:
        ConfigurationError: it cannot be written.
    """
    path = make_place(option, path)
    try:
        path.write_bytes(data)
    except OSError as error:
        raise cannot_write(option, path, error) from None
    return path


def cannot_write(option: str, path: Path, error: OSError) -> ConfigurationError:
    """Return the error of a file that an option names and that cannot be written."""
    return ConfigurationError(f"{option} {path} cannot be written ({error.strerror}); name a place that can.")
