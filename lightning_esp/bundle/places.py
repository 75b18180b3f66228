"""Places inside a bundle that an export cannot write, found before anything is."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from lightning_esp.bundle.bundle import COMPONENT, MANIFEST, PAGE, REPORT
from lightning_esp.errors import OutputDirectoryError


def check_places(directory: Path, names: Iterable[str]) -> None:
    """Check that files may be written or removed.

    Args:
        directory: of the bundle.
        names: of the files, by path inside it.

    Raises:
        OutputDirectoryError: a directory may not be written, or lies where a file goes.
    """
    for name in (MANIFEST, REPORT, PAGE):
        place = directory / name
        if place.is_dir() and not place.is_symlink():
            raise OutputDirectoryError(
                f"{str(place)!r} is a directory, and an export writes a file there. Move it away."
            )
    folders = {_nearest(directory, name) for name in names} | {directory, _nearest(directory, f"{COMPONENT}/-")}
    for folder in sorted(folders):
        if not os.access(folder, os.W_OK | os.X_OK):
            raise OutputDirectoryError(
                f"{str(folder)!r} may not be written by this user, and an export has files for it. Change its permissions "
                f"(`chmod u+w`, or `chown` where another user has made it), or name another output_dir."
            )


def check_model_place(directory: Path) -> None:
    """Check that the directory of the model can be exchanged.

    Raises:
        OutputDirectoryError: it is a link, a file, or on another file system.
    """
    place = directory
    for part in Path(COMPONENT).parts:
        place /= part
        if not os.path.lexists(place):
            return
        if place.is_symlink() or not place.is_dir() or place.stat().st_dev != directory.stat().st_dev:
            raise OutputDirectoryError(
                f"{str(place)!r} is a link, a file or a volume of its own, and an export replaces the directory of the "
                f"model there. Make it a plain directory, or name another output_dir."
            )


def _nearest(directory: Path, name: str) -> Path:
    """The directory that a file goes to, or the one in which that will be made."""
    folder = (directory / name).parent
    while folder != directory and not folder.is_dir():
        folder = folder.parent
    return folder
