"""`Arena`: one piece of memory that ESP-DL hands out and takes back, best fit among what was freed."""

from __future__ import annotations

from dataclasses import dataclass

ALIGNMENT = 16


def aligned(size: int) -> int:
    """The bytes that a tensor of `size` bytes takes."""
    return -(-size // ALIGNMENT) * ALIGNMENT


@dataclass(eq=False)
class _Chunk:
    offset: int
    size: int
    is_free: bool


class Arena:
    """Memory that is handed out in chunks.

    Args:
        capacity: bytes of an arena of fixed size, a multiple of 16; one without grows as it is asked to.
    """

    def __init__(self, capacity: int | None = None) -> None:
        self._grows = capacity is None
        self._chunks = [_Chunk(0, capacity, True)] if capacity else []
        # Ordered by size; of two of one size the one that was freed first comes first.
        self._free = list(self._chunks)

    @property
    def size(self) -> int:
        """Bytes from the start to the end of the last chunk, used or not."""
        return self._chunks[-1].offset + self._chunks[-1].size if self._chunks else 0

    def take(self, size: int) -> int | None:
        """Hand out `size` bytes; their offset, or None where an arena of fixed size has no room."""
        wanted = aligned(size)
        chunk = next((chunk for chunk in self._free if chunk.size >= wanted), None)
        if chunk is not None:
            self._split(chunk, wanted)
        elif self._grows:
            chunk = self._grow(wanted)
        return None if chunk is None else chunk.offset

    def _split(self, chunk: _Chunk, wanted: int) -> None:
        self._free.remove(chunk)
        chunk.is_free = False
        rest = _Chunk(chunk.offset + wanted, chunk.size - wanted, True)
        if rest.size:
            chunk.size = wanted
            self._chunks.insert(self._chunks.index(chunk) + 1, rest)
            self._put(rest)

    def _grow(self, wanted: int) -> _Chunk:
        if self._chunks and self._chunks[-1].is_free:
            chunk = self._chunks[-1]
            self._free.remove(chunk)
            chunk.size, chunk.is_free = wanted, False
        else:
            chunk = _Chunk(self.size, wanted, False)
            self._chunks.append(chunk)
        return chunk

    def give_back(self, offset: int) -> None:
        """Take back what was handed out at `offset`, and join it with what is free on both sides."""
        index = next(i for i, chunk in enumerate(self._chunks) if chunk.offset == offset and not chunk.is_free)
        chunk = self._chunks[index]
        chunk.is_free = True
        for neighbour in (index + 1, index - 1):
            if 0 <= neighbour < len(self._chunks) and self._chunks[neighbour].is_free:
                other = self._chunks.pop(neighbour)
                self._free.remove(other)
                chunk.offset, chunk.size = min(chunk.offset, other.offset), chunk.size + other.size
        self._put(chunk)

    def _put(self, chunk: _Chunk) -> None:
        self._free.append(chunk)
        self._free.sort(key=lambda chunk: chunk.size)
