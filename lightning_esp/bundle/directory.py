"""Where a bundle may be written, and putting it there without ever losing the one before."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from lightning_esp.bundle.model import MANIFEST, SCHEMA
from lightning_esp.errors import OutputDirectoryError

FAILURE_NOTE = "FAILED.txt"


def check_output_dir(path: str | os.PathLike[str]) -> Path:
    """Check that a bundle may be written to `path`; nothing is made or changed.

    Args:
        path: a directory that does not exist, is empty, or holds a bundle, which would be replaced.

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
            f"output_dir={os.fspath(path)!r} is a directory with other files in it ({_sample(directory)}), and a bundle "
            f"replaces its whole directory. Name one that does not exist, is empty, or holds a bundle ({MANIFEST} with "
            f"schema {SCHEMA!r})."
        )
    return directory


def replace_directory(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write `files` to a temporary directory beside `directory` and rename it, replacing what is there.

    Whatever fails, `directory` holds either the old content or the new. If the process is killed between the two
    renames, the old content is found again by the next call, as `.<name>.previous`.

    Args:
        directory: a path that `check_output_dir` has accepted.
        files: content by path inside the directory.
    """
    previous = _previous(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    recover_directory(directory)
    temporary = directory.with_name(f".{directory.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        _write_files(temporary, files)
        if directory.exists():
            os.rename(directory, previous)
        os.rename(temporary, directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        recover_directory(directory)


def recover_directory(directory: Path) -> None:
    """Bring back what an interrupted `replace_directory` has set aside, or remove it if the new content is in place."""
    previous = _previous(directory)
    if not previous.exists():
        return
    if directory.exists():
        shutil.rmtree(previous)
    else:
        os.rename(previous, directory)


def write_failure_note(output_dir: str | os.PathLike[str], message: str) -> Path:
    """Leave `FAILED.txt` beside the bundle at `output_dir`, which stays as it is; the next success removes it."""
    directory = Path(output_dir).resolve()
    note = directory.with_name(FAILURE_NOTE)
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(f"{_note_title(directory)}\n\n{message}\n", encoding="utf-8")
    return note


def remove_failure_note(directory: Path) -> None:
    """Remove `FAILED.txt` beside `directory` if it is about this bundle and not another one there."""
    note = directory.with_name(FAILURE_NOTE)
    if note.is_file() and note.read_text(encoding="utf-8", errors="replace").startswith(f"{_note_title(directory)}\n"):
        note.unlink()


def _previous(directory: Path) -> Path:
    return directory.with_name(f".{directory.name}.previous")


def _note_title(directory: Path) -> str:
    return f"The export to {directory.name} failed; an older bundle there is unchanged."


def _may_replace(directory: Path) -> bool:
    names = {entry.name for entry in directory.iterdir()}
    return not names or _is_bundle(directory)


def _is_bundle(directory: Path) -> bool:
    try:
        manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and str(manifest.get("schema", "")).split("/")[0] == SCHEMA.split("/")[0]


def _sample(directory: Path) -> str:
    names = sorted(entry.name for entry in directory.iterdir())
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _write_files(directory: Path, files: Mapping[str, bytes]) -> None:
    for name, data in sorted(files.items()):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
