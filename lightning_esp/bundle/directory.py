"""Output directory of a bundle: checked, and replaced without ever losing the one before, or what is the user's."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from lightning_esp.bundle.bundle import MANIFEST, SCHEMA
from lightning_esp.bundle.confined import read_regular
from lightning_esp.bundle.disk import clear_beside, locked, make_beside, sync_directory, write_files
from lightning_esp.bundle.places import check_places
from lightning_esp.bundle.replacement import STAGING, is_interrupted, recover_directory, replace_files
from lightning_esp.errors import OutputDirectoryError

__all__ = ["check_output_dir", "probe_output_dir", "recover_directory", "replace_directory"]

# About what a small bundle takes.
_PROBE_BYTES = 1_000_000

# What a directory may hold that somebody has prepared for a project.
_PREPARED = {".git", ".gitattributes", ".gitignore", ".DS_Store", "lost+found", STAGING}


def check_output_dir(path: str | os.PathLike[str]) -> Path:
    """Check that a bundle may be written to `path`; nothing is made or changed.

    Args:
        path: a directory that does not exist, is empty, or holds a bundle, whose model would be replaced.

    Returns:
        The absolute path, symbolic links followed.

    Raises:
        OutputDirectoryError: it is a file, lies inside one, or is a directory with something else in it.

    Example:
        >>> check_output_dir(__file__)
        Traceback (most recent call last):
        lightning_esp.errors.OutputDirectoryError: output_dir=... is a file; ...
    """
    directory = Path(path).resolve()
    for part in (directory, *directory.parents):
        if part.exists() and not part.is_dir():
            raise OutputDirectoryError(
                f"output_dir={os.fspath(path)!r} is a file; a bundle is a directory. Name one that does not exist, is "
                f"empty, or holds a bundle."
                if part == directory
                else f"output_dir={os.fspath(path)!r} lies inside {str(part)!r}, which is a file; name another directory."
            )
    if directory.is_dir() and not _may_replace(directory):
        raise OutputDirectoryError(
            f"output_dir={os.fspath(path)!r} is a directory with other files in it ({_sample(directory)}), and a bundle is "
            f"a project of its own. Name one that does not exist, is empty, or holds a bundle ({MANIFEST} with schema "
            f"{SCHEMA!r})."
        )
    return directory


def probe_output_dir(path: str | os.PathLike[str]) -> Path:
    """Check `path` as `check_output_dir` does, and by writing there; what is made for that is removed.

    Raises:
        OutputDirectoryError: nothing can be written there, or it may hold no bundle.
    """
    directory = check_output_dir(path)
    missing = [folder for folder in (directory, *directory.parents) if not folder.exists()]
    try:
        if not missing:
            check_places(directory, [MANIFEST])
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
        probe = make_beside(directory / "probe")
        try:
            write_files(probe, {"written": bytes(_PROBE_BYTES)})
            os.rename(probe / "written", probe / "renamed")
        finally:
            shutil.rmtree(probe, ignore_errors=True)
    except OSError as error:
        raise OutputDirectoryError(
            f"output_dir={os.fspath(path)!r} cannot be written ({error.strerror or error}); name a directory that this user "
            "may write, on a disk that has room."
        ) from None
    finally:
        for folder in missing:
            with suppress(OSError):  # another process has put something there
                folder.rmdir()
    return directory


def replace_directory(directory: Path, files: Mapping[str, bytes]) -> tuple[str, ...]:
    """Write a bundle: a new one as a whole; of an older one the model, and templates that nobody has edited.

    Whatever fails, and whenever the process is killed or the power is cut, `directory` holds the model of either the old
    bundle or the new one. What was half done is finished when the bundle is next read or written.

    Args:
        directory: a path that `check_output_dir` has accepted.
        files: content by path inside the directory.

    Returns:
        What the user should know of edited files, a line each.

    Raises:
        OutputDirectoryError: it may not be written, or another process keeps writing there.
    """
    clear_beside(directory)
    while not directory.exists():
        if _create(directory, files):
            return ()
    return replace_files(directory, files)


def _create(directory: Path, files: Mapping[str, bytes]) -> bool:
    """Write a directory beside its place and rename it; False where another process was faster."""
    made = make_beside(directory)
    try:
        with locked(made):
            write_files(made, files)
            os.rename(made, directory)
    except OSError as error:
        # Before it was locked, another export may have taken it for what a killed one had left, and removed it.
        swept = error.errno == errno.ENOENT and not made.exists() and directory.parent.exists()
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) and not swept:
            raise
        return False
    finally:
        shutil.rmtree(made, ignore_errors=True)
    sync_directory(directory.parent)
    return True


def _may_replace(directory: Path) -> bool:
    names = {entry.name for entry in directory.iterdir()}
    return names <= _PREPARED or _is_bundle(directory) or is_interrupted(directory)


def _is_bundle(directory: Path) -> bool:
    try:
        manifest = json.loads(read_regular(directory / MANIFEST).decode())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(manifest, dict) and str(manifest.get("schema", "")).split("/")[0] == SCHEMA.split("/")[0]


def _sample(directory: Path) -> str:
    names = sorted(entry.name for entry in directory.iterdir())
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
