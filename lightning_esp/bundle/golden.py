"""Golden windows as the firmware reads them: one binary file of equal records.

All numbers are little-endian. The file starts with the magic `LEG1`, the number of windows and the bytes of one
record. A record holds, each part filled up to a multiple of 4 bytes:

- 1 if the state is reset before this window, else 0 (4 bytes);
- every model input, in the order of `ModelConfig::inputs`;
- stage by stage: every output in full, then the CRC32 of every cache after the window (4 bytes each).

A model with a GRU or LSTM has the magic `LEG2`. Between header and records stands a number (4 bytes) for every output and
cache, stage by stage: by how many steps it may differ. And caches stand in full, so that the firmware starts every window
from the state of the host: a step of difference would else travel in the state.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np

from lightning_esp.bundle.tensors import input_tensors
from lightning_esp.errors import BundleError
from lightning_esp.quantization import QuantizedModel, TensorInfo
from lightning_esp.verification import Array, Golden

MAGIC, MAGIC_WITH_STATES = b"LEG1", b"LEG2"
HEADER_BYTES = 12


def pack_golden(quantized: QuantizedModel, golden: Golden) -> bytes:
    """Return the golden windows of one model as the bytes of `golden/<name>_golden.bin`.

    Args:
        quantized: the model, for the order and the layout of its tensors.
        golden: integers in the layout of the files, `[windows, *shape without batch]`.

    Raises:
        BundleError: there are no windows, a tensor is missing from `golden`, or its shape or dtype is not that of the
            file.
    """
    if golden.windows == 0:
        raise BundleError("golden holds no windows; verify with longer recordings, or use Deployment(golden=False).")
    records = [
        b"".join(part + bytes(-len(part) % 4) for part in _parts(quantized, golden, window))
        for window in range(golden.windows)
    ]
    header = struct.pack("<II", len(records), len(records[0]))
    if not golden.tolerances:
        return MAGIC + header + b"".join(records)
    steps = [golden.tolerances.get(name, 0) for name in result_names(quantized)]
    return MAGIC_WITH_STATES + header + struct.pack(f"<{len(steps)}I", *steps) + b"".join(records)


def take_windows(data: bytes, windows: int) -> bytes:
    """Return golden windows as `pack_golden` packs them, cut to the first ones.

    Args:
        data: what `pack_golden` returned.
        windows: how many stay, at most.
    """
    count, record = struct.unpack_from("<II", data, len(MAGIC))
    records = len(data) - count * record
    kept = min(windows, count)
    return data[: len(MAGIC)] + struct.pack("<I", kept) + data[len(MAGIC) + 4 : records + kept * record]


def result_names(quantized: QuantizedModel) -> list[str]:
    """Return the names of what the golden data hold of each stage, in order: its outputs, then its explicit caches."""
    return [
        name
        for stage in quantized.stages
        for name in (*(tensor.name for tensor in stage.outputs), *(cache.tensor.name for cache in stage.caches))
    ]


def window_bytes(tensor: TensorInfo, values: dict[str, Array], window: int, key: str | None = None) -> bytes:
    """Return one window of a golden tensor as the little-endian bytes of the file layout.

    Args:
        tensor: what the file says of it.
        values: golden values by name.
        window: which window.
        key: its name in `values`, where that is not the name of the tensor.
    """
    name = key or tensor.name
    if name not in values:
        raise BundleError(f"golden windows hold no values of tensor {name!r}; they hold {sorted(values)}.")
    found = values[name][window]
    expected = tensor.shape[1:]
    if found.shape != expected or str(found.dtype) != tensor.dtype:
        raise BundleError(
            f"golden values of tensor {name!r} are {found.dtype}{list(found.shape)} per window, but its file has "
            f"{tensor.dtype}{list(expected)}; pass the integers in the layout of the file."
        )
    return np.ascontiguousarray(found).astype(np.dtype(tensor.dtype).newbyteorder("<")).tobytes()


def _parts(quantized: QuantizedModel, golden: Golden, window: int) -> Iterator[bytes]:
    yield struct.pack("<I", int(window in golden.resets))
    for tensor in input_tensors(quantized):
        yield window_bytes(tensor, golden.inputs, window)
    for stage in quantized.stages:
        for tensor in stage.outputs:
            yield window_bytes(tensor, golden.outputs, window)
        for cache in stage.caches:
            state = window_bytes(cache.tensor, golden.caches, window)
            yield state if golden.tolerances else struct.pack("<I", zlib.crc32(state))
