"""`FAILED.txt`: what stands beside a bundle whose export failed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

FAILURE_NOTE = "FAILED.txt"


def write_failure_note(
    output_dir: str | os.PathLike[str], message: str, folder: str | os.PathLike[str] | None = None
) -> Path:
    """Leave `FAILED.txt` beside the bundle at `output_dir`, which stays as it is; the next success removes it.

    A file of that name which is not a note on this bundle stays, and the note is called `FAILED.2.txt`.

    Args:
        output_dir: where the bundle is, or would be.
        message: what happened.
        folder: where the note goes if not there.
    """
    directory = Path(output_dir).resolve()
    folder = directory.parent if folder is None else Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    note = next(place for place in _places(folder) if not os.path.lexists(place) or _is_about(place, directory))
    note.write_text(f"{_title(directory)}\n\n{message}\n", encoding="utf-8")
    return note


def remove_failure_note(directory: Path) -> None:
    """Remove the note beside `directory` if there is one about this bundle, and not another one there."""
    for note in _places(directory.parent):
        if not os.path.lexists(note):
            return
        if _is_about(note, directory):
            note.unlink()
            return


def _places(folder: Path) -> Iterator[Path]:
    yield folder / FAILURE_NOTE
    yield from (folder / f"FAILED.{number}.txt" for number in count(2))


def _is_about(note: Path, directory: Path) -> bool:
    if not note.is_file():
        return False
    return note.read_text(encoding="utf-8", errors="replace").startswith(f"{_title(directory)}\n")


def _title(directory: Path) -> str:
    return f"The export to {directory.name} failed; an older bundle there is unchanged."
