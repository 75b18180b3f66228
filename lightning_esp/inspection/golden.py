"""Golden windows read back from the file that `bundle.golden` describes."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from math import prod

import numpy as np

from lightning_esp.bundle import HEADER_BYTES, MAGIC, MAGIC_WITH_STATES, input_tensors, result_names, tensor_bytes
from lightning_esp.errors import BundleError
from lightning_esp.quantization import QuantizedModel, TensorInfo
from lightning_esp.verification import Array


@dataclass(frozen=True)
class StoredGolden:
    """Contents of a file of golden windows.

    Args:
        resets: windows before which the state is reset.
        inputs: model inputs by name, `[windows, *shape without batch]`.
        outputs: outputs of every stage by name, `[windows, ...]`.
        checksums: CRC32 of every explicit cache after each window, by cache name, `[windows]`.
        tolerances: steps that an output or a cache may be off on a chip; empty where none may.
    """

    resets: tuple[int, ...]
    inputs: dict[str, Array]
    outputs: dict[str, Array]
    checksums: dict[str, Array]
    tolerances: dict[str, int] = field(default_factory=dict)

    @property
    def windows(self) -> int:
        """Number of windows."""
        return len(next(iter(self.inputs.values())))


def unpack_golden(quantized: QuantizedModel, data: bytes, origin: str) -> StoredGolden:
    """Read the bytes of `golden/<name>_golden.bin`.

    Args:
        quantized: the model, for the order and the layout of its tensors.
        data: the bytes.
        origin: what messages call the file.

    Raises:
        BundleError: its header or its size is not that of golden windows of this model.
    """
    inputs = input_tensors(quantized)
    has_states, names = data[:4] == MAGIC_WITH_STATES, result_names(quantized)
    stages = [(stage.outputs, [cache.tensor for cache in stage.caches]) for stage in quantized.stages]
    sizes = [4, *map(_padded, inputs)]
    for outputs, caches in stages:
        sizes += [*map(_padded, outputs), *(_padded(cache) if has_states else 4 for cache in caches)]
    tolerance_bytes = 4 * len(names) if has_states else 0
    records = _split_records(data, sum(sizes), tolerance_bytes, origin)
    parts = iter(np.split(records, np.cumsum(sizes)[:-1], axis=1))
    resets = np.flatnonzero(_words(next(parts)))
    found_inputs = {tensor.name: _values(next(parts), tensor) for tensor in inputs}
    found_outputs, checksums = dict[str, Array](), dict[str, Array]()
    for outputs, caches in stages:
        found_outputs |= {tensor.name: _values(next(parts), tensor) for tensor in outputs}
        checksums |= {t.name: _sums(next(parts), t) if has_states else _words(next(parts)) for t in caches}
    steps = struct.unpack_from(f"<{tolerance_bytes // 4}I", data, HEADER_BYTES)
    tolerances = dict(zip(names, steps, strict=True)) if has_states else {}
    return StoredGolden(tuple(int(index) for index in resets), found_inputs, found_outputs, checksums, tolerances)


def _padded(tensor: TensorInfo) -> int:
    return (tensor_bytes(tensor) + 3) // 4 * 4


def _split_records(data: bytes, size: int, tolerance_bytes: int, origin: str) -> Array:
    if data[:4] not in (MAGIC, MAGIC_WITH_STATES) or len(data) < HEADER_BYTES:
        raise BundleError(f"{origin} holds no golden windows: it begins with {data[:4]!r}, not with {MAGIC!r}.")
    windows, found = struct.unpack_from("<II", data, 4)
    start = HEADER_BYTES + tolerance_bytes
    if (found, len(data)) != (size, start + windows * size) or windows == 0:
        raise BundleError(
            f"{origin} has {len(data)} bytes: {windows} windows of {found} bytes; the tensors of the manifest make {size} bytes "
            "a window, at least one. File and manifest do not belong together; export again."
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(windows, size)


def _words(part: Array) -> Array:
    return np.ascontiguousarray(part).view("<u4").reshape(-1)


def _sums(part: Array, tensor: TensorInfo) -> Array:
    """CRC32 of a tensor that stands in full, window by window."""
    return np.array([zlib.crc32(row[: tensor_bytes(tensor)].tobytes()) for row in part], np.uint32)


def _values(part: Array, tensor: TensorInfo) -> Array:
    dtype = np.dtype(tensor.dtype).newbyteorder("<")
    kept = np.ascontiguousarray(part[:, : prod(tensor.shape) * dtype.itemsize])
    return kept.view(dtype).reshape(len(part), *tensor.shape[1:]).astype(tensor.dtype)
