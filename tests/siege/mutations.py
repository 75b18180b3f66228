"""Damage for files: of bytes, as disks and transfers do it, and of JSON, as hands do it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

WORDS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, -(2**63), 10**30, 1.5, 1e308, float("nan"), float("inf")),
    *(
        "",
        "0",
        "..",
        "../../x",
        "/etc/passwd",
        "a" * 5000,
        "\0",
        "\ud800",
        "<script>",
        "esp32s3",
        [],
        {},
        [[]],
        {"": []},
    ),
)

_NAMES = tuple(value for value in VALUES if isinstance(value, str))


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """Return `data` with one to four faults."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if changed:
            rng.choice(_FAULTS)(changed, rng)
    return bytes(changed)


def mutate_json(text: str, rng: random.Random) -> str:
    """Return a JSON text with one to three of its values replaced, taken away, doubled or renamed."""
    value = json.loads(text)
    for _ in range(rng.choice((1, 1, 2, 3))):
        _mutate_value(value, rng)
    return json.dumps(value)


def _flip(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _write_byte(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data))] = rng.randrange(256)


def _write_word(data: bytearray, rng: random.Random) -> None:
    size = rng.choice((2, 4, 8))
    at = rng.randrange(len(data)) // size * size
    data[at : at + size] = (rng.choice(WORDS) & ((1 << 8 * size) - 1)).to_bytes(size, "little")


def _step_word(data: bytearray, rng: random.Random) -> None:
    """Move an offset or a length a little: what is read then still looks like something."""
    at = rng.randrange(len(data)) // 4 * 4
    word = int.from_bytes(data[at : at + 4], "little") + rng.choice((-16, -8, -4, -1, 1, 4, 8, 16))
    data[at : at + 4] = (word & 0xFFFFFFFF).to_bytes(4, "little")


def _truncate(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def _cut(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.randrange(1, 64)]


def _copy(data: bytearray, rng: random.Random) -> None:
    source, target, size = rng.randrange(len(data)), rng.randrange(len(data)), rng.randrange(1, 64)
    data[target : target + size] = data[source : source + size]


_FAULTS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    *(_flip, _write_byte, _write_word, _step_word, _truncate, _cut, _copy),
)


def _mutate_value(value: Any, rng: random.Random) -> None:
    places = _places(value)
    if not places:  # an object whose only key is gone
        return
    holder, key = rng.choice(places)
    action = rng.randrange(4)
    if action == 0 and isinstance(holder, dict):
        del holder[key]
    elif action == 1 and isinstance(holder, dict):
        holder[rng.choice((f"{key}x", *_NAMES))] = holder.pop(key)
    elif action == 2 and isinstance(holder, list):
        holder.append(holder[key])
    else:
        holder[key] = json.loads(json.dumps(rng.choice(VALUES)))


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Return each holder and key; one list for all, since a manifest has a thousand places many levels deep."""
    places: list[tuple[Any, Any]] = []
    holders = [value]
    while holders:
        holder = holders.pop()
        keys = holder.keys() if isinstance(holder, dict) else range(len(holder))
        places += [(holder, key) for key in keys]
        holders += [holder[key] for key in keys if isinstance(holder[key], (dict, list))]
    return places
