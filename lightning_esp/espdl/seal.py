"""A digest of a file inside the file: the metadata entry `digest` holds the SHA-256 of all other bytes.

Golden windows tell a changed weight where it matters to an output; the digest tells every changed byte.
"""

from __future__ import annotations

import hashlib

from lightning_esp.espdl.reader import read_espdl

KEY = "digest"
BLANK = "0" * 64


def seal(data: bytes) -> bytes:
    """Write the digest of a file into it.

    Args:
        data: an `.espdl` file with 64 zeros, or an older digest, as its metadata entry `digest`.

    Returns:
        The file with its digest; nothing else changes.
    """
    blank, at = _blank(data)
    assert at >= 0, "the exporter writes the entry"
    return blank[:at] + hashlib.sha256(blank).hexdigest().encode() + blank[at + len(BLANK) :]


def is_sealed(data: bytes) -> bool:
    """Tell whether a file holds a digest, and every byte is as it was when that was written.

    Args:
        data: an `.espdl` file.

    Raises:
        EspdlFormatError: it cannot be read.
    """
    blank, at = _blank(data)
    return at >= 0 and data[at : at + len(BLANK)] == hashlib.sha256(blank).hexdigest().encode()


def _blank(data: bytes) -> tuple[bytes, int]:
    """The file with zeros for its digest, and where they stand; -1 where it has none."""
    stored = read_espdl(data).metadata.get(KEY, "").encode()
    if len(stored) != len(BLANK) or data.count(stored) != 1:
        return data, -1
    at = data.index(stored)
    return data[:at] + BLANK.encode() + data[at + len(BLANK) :], at
