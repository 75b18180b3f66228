"""The container around a model's flatbuffer: one model (`EDL`), or several in a pack (`PDL`).

A single file has the magic `EDL1` or `EDL2`, the encryption mode and the length of the data, then the data. A pack has
the magic `PDL1`, `PDL2` or `PDL3`, a table of (data offset, name offset, name length), the names, and the single files.
"""

from __future__ import annotations

import hashlib
import struct

from lightning_esp.errors import EspdlFormatError
from lightning_esp.versions import ESP_PPQ

_HEADER_BYTES = {b"EDL1": 12, b"EDL2": 16}
_PACK_COUNT_AT = {b"PDL1": 4, b"PDL2": 4, b"PDL3": 56}
_PDL3_SIZE_AT, _PDL3_DIGEST_AT, _PDL3_DIGEST_END = 20, 24, 56


def unpack_container(data: bytes, origin: str) -> dict[str, bytes]:
    """Split a file into the flatbuffers of its models.

    Args:
        data: The whole file.
        origin: What messages call the file, such as its path.

    Returns:
        The flatbuffer of every model by its name, in file order; a single file has the name "".

    Raises:
        EspdlFormatError: The file is truncated, encrypted, foreign or of a newer format.
    """
    magic = data[:4]
    if magic in _HEADER_BYTES:
        return {"": _read_single(data, 0, origin)}
    if magic not in _PACK_COUNT_AT:
        raise _unknown_magic(data, origin)
    if magic == b"PDL3":
        _check_digest(data, origin)
    return _read_pack(data, _PACK_COUNT_AT[magic], origin)


def _unknown_magic(data: bytes, origin: str) -> EspdlFormatError:
    if len(data) < 16:
        return EspdlFormatError(f"{origin}: {len(data)} bytes are too few for an .espdl file (its header has 16).")
    magic = data[:4]
    if magic[:3] in (b"EDL", b"PDL") and magic[3:].isdigit():
        return EspdlFormatError(
            f"{origin}: the container format {magic.decode()} is newer than this package, which reads EDL1, EDL2 and "
            f"PDL1 to PDL3. Export the model with esp-ppq {ESP_PPQ}, or update lightning_esp."
        )
    return EspdlFormatError(
        f"{origin}: not an .espdl file: it begins with {magic!r}, not with EDL1, EDL2 or PDL1 to PDL3. Pass the "
        "`.espdl` that esp-ppq wrote (not the ONNX, JSON or info file beside it)."
    )


def _read_words(data: bytes, offset: int, count: int, origin: str) -> tuple[int, ...]:
    if offset + 4 * count > len(data):
        raise EspdlFormatError(f"{origin}: truncated: the header at byte {offset} ends behind byte {len(data)}.")
    return struct.unpack_from(f"<{count}I", data, offset)


def _read_single(data: bytes, offset: int, origin: str) -> bytes:
    magic = data[offset : offset + 4]
    if magic not in _HEADER_BYTES:
        raise EspdlFormatError(f"{origin}: damaged: no model begins at byte {offset} (found {magic!r}).")
    mode, length = _read_words(data, offset + 4, 2, origin)
    if mode == 1:
        raise EspdlFormatError(
            f"{origin}: the model is encrypted (AES), and this package holds no keys. Export it again with "
            "encrypt_data=False to read or simulate it."
        )
    if mode != 0:
        raise EspdlFormatError(f"{origin}: encryption mode {mode} is unknown; this package reads mode 0 (none).")
    start = offset + _HEADER_BYTES[magic]
    if start + length > len(data):
        raise EspdlFormatError(
            f"{origin}: truncated: the header announces {length} bytes of data, {max(0, len(data) - start)} are there. "
            "Copy or export the file again."
        )
    return data[start : start + length]


def _read_pack(data: bytes, count_at: int, origin: str) -> dict[str, bytes]:
    (count,) = _read_words(data, count_at, 1, origin)
    models: dict[str, bytes] = {}
    for index in range(count):
        at, name_at, name_length = _read_words(data, count_at + 4 + 12 * index, 3, origin)
        raw_name = data[name_at : name_at + name_length]
        if len(raw_name) != name_length:
            raise EspdlFormatError(f"{origin}: truncated: the name of packed model {index} ends behind the file.")
        name = raw_name.decode("utf-8", errors="replace")
        models[name] = _read_single(data, at, f"{origin}[{name}]")
    if not models:
        raise EspdlFormatError(f"{origin}: the pack holds no model.")
    return models


def _check_digest(data: bytes, origin: str) -> None:
    (size,) = _read_words(data, _PDL3_SIZE_AT, 1, origin)
    if not _PDL3_DIGEST_END < size <= len(data):
        raise EspdlFormatError(f"{origin}: truncated: the pack announces {size} bytes, {len(data)} are there.")
    stored = data[_PDL3_DIGEST_AT:_PDL3_DIGEST_END]
    blanked = data[:_PDL3_DIGEST_AT] + bytes(len(stored)) + data[_PDL3_DIGEST_END:size]
    if hashlib.sha256(blanked).digest() != stored:
        raise EspdlFormatError(f"{origin}: damaged: the SHA-256 in the pack's header does not match its content.")
