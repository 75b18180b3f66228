"""Ownership of a bundle's files: an export's, written anew each time, or the user's, once first written.

The model is the export's: `components/lesp_model/<chip>/`, the manifest, the report. All else is a template that becomes the
user's. It follows newer templates until it is edited, by the hash that the manifest holds of it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lightning_esp.bundle.bundle import COMPONENT, MANIFEST, PAGE, REPORT, Edit
from lightning_esp.chips import TARGETS

NEWER = ".new"
# A name that is too long is that of nothing.
_NOTHING = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)


def sha256(data: bytes) -> str:
    """Return the SHA-256 of `data` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def is_generated(name: str) -> bool:
    """Tell whether every export writes the file at this path inside a bundle anew."""
    inside = name.removeprefix(f"{COMPONENT}/").split("/")
    return name in (MANIFEST, REPORT, PAGE) or (
        name.startswith(f"{COMPONENT}/") and len(inside) > 1 and inside[0] in TARGETS
    )


@dataclass(frozen=True)
class Found:
    """File found at a path inside a bundle.

    Args:
        exists: whether anything does.
        data: content; None where there is none, or where what is there is no file that could be read.
        reachable: whether the directories on the way are directories in the bundle, and no links.
    """

    exists: bool
    data: bytes | None = None
    reachable: bool = True

    def is_one_of(self, *hashes: str | None) -> bool:
        """Tell whether the content has one of these SHA-256, also where git has written other line ends."""
        if self.data is None:
            return False
        own = {sha256(data) for data in (self.data, self.data.replace(b"\r\n", b"\n"))}
        return not own.isdisjoint(hashes)


def look(directory: Path, name: str) -> Found:
    """Look at a path inside a bundle, without following any link in it."""
    place = directory
    for part in Path(name).parts[:-1]:
        place /= part
        mode = _mode(place)
        if mode is None:
            return Found(False)
        if not stat.S_ISDIR(mode):
            return Found(True, reachable=False)
    path = directory / name
    mode = _mode(path)
    if mode is None or not stat.S_ISREG(mode):
        return Found(mode is not None)
    try:
        return Found(True, path.read_bytes())
    except FileNotFoundError:
        return Found(False)
    except OSError:  # another user's file: whatever it holds, it is not ours to write
        return Found(True)


def find_edits(directory: Path, hashes: Mapping[str, str]) -> tuple[Edit, ...]:
    """Return the templates that are no longer what was written.

    Args:
        directory: of a bundle.
        hashes: of its files as they were written, by path.
    """
    found = {name: look(directory, name) for name in sorted(hashes) if not is_generated(name)}
    return tuple(
        Edit(name, not here.exists, os.path.lexists(directory / f"{name}{NEWER}"))
        for name, here in found.items()
        if not here.is_one_of(hashes[name])
    )


def _mode(path: Path) -> int | None:
    """Return the mode of what is at a path, 0 where it cannot be looked at, None where nothing is."""
    try:
        return os.lstat(path).st_mode
    except OSError as error:
        return None if error.errno in _NOTHING else 0
