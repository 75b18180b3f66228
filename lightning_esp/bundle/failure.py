"""`FAILED.txt`: what stands beside a bundle whose export failed."""

from __future__ import annotations

import os
from pathlib import Path

FAILURE_NOTE = "FAILED.txt"


def write_failure_note(output_dir: str | os.PathLike[str], message: str) -> Path:
    """Leave `FAILED.txt` beside the bundle at `output_dir`, which stays as it is; the next success removes it."""
    directory = Path(output_dir).resolve()
    note = directory.with_name(FAILURE_NOTE)
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(f"{_title(directory)}\n\n{message}\n", encoding="utf-8")
    return note


def remove_failure_note(directory: Path) -> None:
    """Remove `FAILED.txt` beside `directory` if it is about this bundle and not another one there."""
    note = directory.with_name(FAILURE_NOTE)
    if note.is_file() and note.read_text(encoding="utf-8", errors="replace").startswith(f"{_title(directory)}\n"):
        note.unlink()


def _title(directory: Path) -> str:
    return f"The export to {directory.name} failed; an older bundle there is unchanged."
