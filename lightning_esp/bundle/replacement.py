"""Putting an export in its place: staged whole inside the bundle, then put there in steps that anyone can finish.

What is staged in `.lightning_esp.tmp` counts from the moment on in which its manifest has its name. From then on every
later call finishes what a killed process has left: the directory of the model changes places with the staged one, the
other files move to theirs one by one, and the manifest comes last.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from lightning_esp.bundle.bundle import COMPONENT, MANIFEST
from lightning_esp.bundle.confined import is_inside, read_regular
from lightning_esp.bundle.disk import locked, move_file, previous_of, put_directory, sync_directory, write_files
from lightning_esp.bundle.ownership import look
from lightning_esp.bundle.places import check_model_place, check_places
from lightning_esp.bundle.plan import ReplacementPlan, list_carried, list_obsolete, make_plan
from lightning_esp.bundle.renaming import find_component
from lightning_esp.errors import OutputDirectoryError

STAGING = ".lightning_esp.tmp"

# Under STAGING: the directory of the model, what goes elsewhere, and the mark of a model that is not in its place yet.
_MODEL, _FILES, _MARK = "model", "files", ".staged"


def replace_files(directory: Path, files: Mapping[str, bytes]) -> tuple[str, ...]:
    """Replace what is generated in a bundle, and templates that were not edited; all else stays as it is.

    Args:
        directory: which exists and holds a bundle, or nothing that `files` would write over.
        files: content by path inside the directory; the manifest is one of them.

    Returns:
        What the user should know, a line each.

    Raises:
        OutputDirectoryError: a place may not be written, or another process keeps writing there.
    """
    with locked(directory) as alone:
        if not alone:
            raise OutputDirectoryError(
                f"output_dir={str(directory)!r} has been in use by another process for a minute; wait for it, or name "
                f"another directory."
            )
        _recover(directory)
        check_model_place(directory)
        plan = make_plan(directory, files, read_hashes(directory / MANIFEST))
        check_places(directory, [*plan.writes, *plan.removes])
        try:
            _stage(directory, plan)
            _finish(directory)
        finally:
            # Nothing has moved yet, or all of it has; in between, the next call goes on.
            if not _is_underway(directory):
                shutil.rmtree(directory / STAGING, ignore_errors=True)
    return tuple(plan.notices)


def recover_directory(directory: Path) -> None:
    """Finish a replacement that a killed process has begun; one that is being made is left to who makes it.

    Raises:
        OSError: this process may not write there.
        OutputDirectoryError: a link leads out of the bundle.
    """
    if is_interrupted(directory):
        with locked(directory, patience=0) as alone:
            if alone:
                _recover(directory)


def is_being_replaced(directory: Path) -> bool:
    """Tell whether another process is putting files in their places."""
    if not is_interrupted(directory):
        return False
    with locked(directory, patience=0) as alone:
        return not alone


def is_interrupted(directory: Path) -> bool:
    """Tell whether a replacement is under way that can be finished: everything is staged, and not yet in its place."""
    return look(directory, f"{STAGING}/{_FILES}/{MANIFEST}").data is not None


def read_hashes(manifest: Path) -> dict[str, str]:
    """Return the hashes of files in a manifest as it lies there; empty where it holds none.

    What it says of files outside the bundle is left out, since what is obsolete is removed, and anybody may have written it.
    """
    try:
        files = json.loads(read_regular(manifest).decode())["files"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    if not isinstance(files, dict):
        return {}
    return {name: value for name, value in files.items() if is_inside(name) and isinstance(value, str)}


def _recover(directory: Path) -> None:
    staging = directory / STAGING
    if is_interrupted(directory):
        _finish(directory)
    elif staging.is_symlink():
        staging.unlink()
    else:
        shutil.rmtree(staging, ignore_errors=True)


def _is_underway(directory: Path) -> bool:
    staged = directory / STAGING / _MODEL
    return is_interrupted(directory) and (previous_of(staged).exists() or not (staged / _MARK).exists())


def _stage(directory: Path, plan: ReplacementPlan) -> None:
    staging, prefix = directory / STAGING, f"{COMPONENT}/"
    model = {name.removeprefix(prefix): data for name, data in plan.writes.items() if name.startswith(prefix)}
    others = {name: data for name, data in plan.writes.items() if not name.startswith(prefix) and name != MANIFEST}
    if model or plan.keeps:
        write_files(staging / _MODEL, {**model, _MARK: b""})
    for now, then in plan.keeps.items():
        _take_along(directory / now, staging / _MODEL / then.removeprefix(prefix))
    write_files(staging / _FILES, others)
    _copy_modes(directory, staging)
    write_files(staging, {MANIFEST: plan.writes[MANIFEST]})
    sync_directory(directory)
    os.rename(staging / MANIFEST, staging / _FILES / MANIFEST)
    sync_directory(staging / _FILES)


def _finish(directory: Path) -> None:
    """Put what is staged in its place, from wherever an earlier call has stopped."""
    staging = directory / STAGING
    known, new = read_hashes(directory / MANIFEST), read_hashes(staging / _FILES / MANIFEST)
    component = find_component(new)  # another one where an older version of the package was killed
    if (staging / _MODEL / _MARK).exists():
        check_model_place(directory)
        put_directory(staging / _MODEL, directory / component)
    (directory / component / _MARK).unlink(missing_ok=True)
    obsolete = list_obsolete(directory, known, new)
    for name in {*obsolete, *list_carried(directory, staging / _FILES, known, new)}:
        _remove(directory, name)
    paths = [path for path in (staging / _FILES).rglob("*") if path.is_file() and not path.is_symlink()]
    names = [path.relative_to(staging / _FILES).as_posix() for path in paths]
    # Where a link leads out of the bundle, nothing is written; a plan asks for no such thing.
    names = [name for name in sorted(names) if name != MANIFEST and look(directory, name).reachable]
    for name in names:
        move_file(staging / _FILES / name, directory / name)
    for folder in {(directory / name).parent for name in names}:
        sync_directory(folder)
    move_file(staging / _FILES / MANIFEST, directory / MANIFEST)
    sync_directory(directory)
    shutil.rmtree(staging)


def _take_along(path: Path, copy: Path) -> None:
    """The same file under another name, or a copy where the file system has no such thing."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, copy, follow_symlinks=False)
    except OSError:
        shutil.copy2(path, copy, follow_symlinks=False)
    sync_directory(copy.parent)


def _copy_modes(directory: Path, staging: Path) -> None:
    """Give what is staged the permissions of what it replaces: a group may share the directory."""
    for staged, place in ((staging / _MODEL, directory / COMPONENT), (staging / _FILES, directory)):
        for new in (staged, *staged.rglob("*")) if staged.is_dir() else ():
            old = place / new.relative_to(staged)
            if old.exists() and not old.is_symlink() and not new.is_symlink():
                with suppress(PermissionError):
                    new.chmod(stat.S_IMODE(old.stat().st_mode))


def _remove(directory: Path, name: str) -> None:
    (directory / name).unlink(missing_ok=True)
    for folder in (directory / name).parents:
        if folder == directory or not folder.is_dir() or any(folder.iterdir()):
            return
        folder.rmdir()
