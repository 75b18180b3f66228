"""Files that are on the disk once a function returns, two directories that change places, and locks between processes."""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

# Seconds that one process waits for another; one that was stopped must not stop others for good.
PATIENCE = 60.0

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_NO_EXCHANGE = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM}


def write_files(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write files, and wait until the disk has them and the directories that they are in.

    Args:
        directory: which is made if it is not there.
        files: content by path inside it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for name in files:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
    # A file system answers many waiting for it at once about as fast as one.
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: _write_file(directory / name, files[name]), files))
    for folder in sorted({(directory / name).parent for name in files} | {directory}, reverse=True):
        sync_directory(folder)


def sync_directory(directory: Path) -> None:
    """Wait until the disk has what a directory lists."""
    if sys.platform == "win32":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems know no such thing
            raise
    finally:
        os.close(descriptor)


def put_directory(made: Path, place: Path) -> None:
    """Put a directory in the place of another one, which `made` names afterwards if there was one.

    At any moment one of them is there, where the system can exchange two names; else `place` is missing for a moment,
    and a second call finishes what the first has begun.
    """
    if not os.path.lexists(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        os.rename(made, place)
    elif not _exchange(made, place):
        aside = previous_of(made)
        os.rename(place, aside)
        try:
            os.rename(made, place)
        except BaseException:
            os.rename(aside, place)
            raise
    sync_directory(place.parent)


def previous_of(made: Path) -> Path:
    """Return the path to which `put_directory` moves the replaced directory, on systems that cannot exchange."""
    return made.with_name(f"{made.name}.previous")


def move_file(file: Path, place: Path) -> None:
    """Put a file in the place of another one, also where a volume is mounted there."""
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.replace(file, place)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        copy = place.with_name(f".{place.name[:50]}.tmp")
        _write_file(copy, file.read_bytes())
        shutil.copymode(file, copy)
        os.replace(copy, place)
        file.unlink()


def make_beside(directory: Path) -> Path:
    """Make a directory beside another one, for content that is not complete yet."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    made = directory.with_name(f"{_stem(directory)}{secrets.token_hex(4)}.tmp")
    made.mkdir()
    return made


def clear_beside(directory: Path) -> None:
    """Remove what `make_beside` made for a process that has ended before it could."""
    stem = _stem(directory)
    for found in directory.parent.iterdir() if os.access(directory.parent, os.R_OK | os.X_OK) else ():
        middle = found.name.removeprefix(stem).removesuffix(".tmp")
        if found.name != f"{stem}{middle}.tmp" or set(middle) - set("0123456789abcdef") or not found.is_dir():
            continue
        with locked(found, patience=0) as alone:
            if alone:
                shutil.rmtree(found, ignore_errors=True)


@contextmanager
def locked(directory: Path, patience: float = PATIENCE) -> Iterator[bool]:
    """Hold a lock on a directory, against other processes and other threads; it ends with the process at the latest.

    Args:
        directory: which stays in its place.
        patience: seconds to wait.

    Returns:
        Whether the lock is held, and not kept by somebody else. A file system without locks counts as one on which nobody
        else is.

    Raises:
        OSError: the directory cannot be opened.
    """
    if sys.platform == "win32":
        yield True
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        held = _wait_for(descriptor, time.monotonic() + patience)
        try:
            yield held
        finally:
            # Not left to `close`: a process forked meanwhile has the same lock.
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _wait_for(descriptor: int, end: float) -> bool:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            time.sleep(0.005)
        except OSError:
            return True  # no locks here, as on some network file systems: as good as alone
        else:
            return True


def _write_file(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _stem(directory: Path) -> str:
    # A name may have 255 bytes, and a character four.
    return f".{directory.name[:50]}."


def _exchange(first: Path, second: Path) -> bool:
    """Let two names change places in one step; False where the system cannot."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if sys.platform == "linux" else None
    if rename is None:
        return False
    if rename(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NO_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), str(first), None, str(second))
