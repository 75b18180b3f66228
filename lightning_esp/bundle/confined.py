"""Limits on a bundle from anywhere: files that it names lie inside, and what is read of it ends."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def is_inside(name: object) -> bool:
    """Tell whether a manifest may name a file so: by a path inside the bundle, of names that a file system has.

    Example:
        >>> is_inside("main/listen.cpp"), is_inside("../secret"), is_inside("/etc/passwd")
        (True, False, False)
    """
    if not isinstance(name, str) or {"", ".", ".."} & set(name.split("/")) or "\\" in name or "\0" in name:
        return False
    try:
        os.fsencode(name)
    except UnicodeEncodeError:  # JSON holds halves of characters
        return False
    return True


def read_regular(path: Path) -> bytes:
    """Return the content of a file; a pipe would wait for ever, and a device may never end.

    Raises:
        OSError: there is no such file, it is something else, or it cannot be read.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "it is not a file", os.fspath(path))
    return path.read_bytes()
