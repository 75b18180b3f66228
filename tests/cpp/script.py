"""Scripts for the stand-in of `dl::Model`: what must be fed to a stage, and what it makes of it.

A script takes the place of an `.espdl` file. All words are 32 bits, little-endian:

    "FAKE", name, number of inputs, of outputs, of windows
    per tensor: name, slot in memory, type, exponent, rank, shape        (a name is its length and its bytes)
    per window: 1 if a recording starts here, else 0; the bytes of all inputs, then of all outputs
"""

from __future__ import annotations

import random
import struct
import zlib
from dataclasses import replace

import numpy as np

from lightning_esp.bundle import Bundle, read_model
from lightning_esp.bundle.golden import HEADER_BYTES, MAGIC_WITH_STATES, result_names
from lightning_esp.bundle.tensors import input_tensors, tensor_bytes
from lightning_esp.quantization.quantized_model import CacheInfo, QuantizedModel, StageFile, TensorInfo
from lightning_esp.verification.proof import Array, Golden

DL_TYPES = {"float32": 1, "int8": 3, "int16": 5}


def with_scripts(quantized: QuantizedModel, golden: Golden) -> QuantizedModel:
    """Return the model with scripts in place of its files."""
    stages = [replace(stage, data=write_script(stage, golden)) for stage in quantized.stages]
    return replace(quantized, stages=tuple(stages))


def write_script(stage: StageFile, golden: Golden, made: Golden | None = None) -> bytes:
    """Return the script of one stage.

    Args:
        stage: which.
        golden: what it must be fed.
        made: what it makes of it, where that is something else.
    """
    inputs = [*stage.inputs, *(cache.tensor for cache in stage.caches)]
    outputs = [*stage.outputs, *(replace(cache.tensor, name=cache.next) for cache in stage.caches)]
    slots = [*range(len(inputs)), *_output_slots(stage)]
    tensors = (_tensor(tensor, slot) for tensor, slot in zip((*inputs, *outputs), slots, strict=True))
    head = b"FAKE" + _text(stage.name) + struct.pack("<3i", len(inputs), len(outputs), golden.windows)
    windows = (_window(stage, golden, made or golden, window) for window in range(golden.windows))
    return head + b"".join(tensors) + b"".join(windows)


def _output_slots(stage: StageFile) -> list[int]:
    """Lay the new value of a cache over the next cache, and the other outputs over the other inputs.

    Writing one state back straight after a run then destroys another one that was not read yet.
    """
    inputs, caches = len(stage.inputs), len(stage.caches)
    free = [*range(inputs), *range(inputs + caches, inputs + caches + len(stage.outputs))]
    return free[: len(stage.outputs)] + [inputs + (index + 1) % caches for index in range(caches)]


def read_golden(bundle: Bundle, target: str) -> Golden:
    """Return the golden windows of a bundle, with made-up caches where it holds only the CRC32 of the real ones.

    To the stand-in any bytes will do, as long as the state that is fed back
    is the state that came out, and its CRC32 is the golden one.
    """
    quantized = read_model(bundle, target)
    directory = bundle.path / "components/lesp_model" / target / "golden"
    data = (directory / f"{bundle.name}_golden.bin").read_bytes()
    windows, record_bytes = struct.unpack_from("<II", data, 4)
    has_states, names = data[:4] == MAGIC_WITH_STATES, result_names(quantized)
    start = HEADER_BYTES + (4 * len(names) if has_states else 0)
    records = [data[start + i * record_bytes :][:record_bytes] for i in range(windows)]
    golden = Golden({}, {}, {}, tuple(i for i, record in enumerate(records) if record[0]))
    offset = 4
    for tensor in input_tensors(quantized):
        golden.inputs[tensor.name], offset = _column(records, tensor, offset)
    for stage in quantized.stages:
        for tensor in stage.outputs:
            golden.outputs[tensor.name], offset = _column(records, tensor, offset)
        for cache in stage.caches:
            if has_states:
                golden.caches[cache.tensor.name], offset = _column(records, cache.tensor, offset)
                continue
            crcs = [struct.unpack_from("<I", record, offset)[0] for record in records]
            golden.caches[cache.tensor.name], offset = _forge(cache.tensor, crcs), offset + 4
    steps = struct.unpack_from(f"<{len(names)}I", data, HEADER_BYTES) if has_states else ()
    return replace(golden, tolerances=dict(zip(names, steps, strict=False)))


def forge_bytes(count: int, crc: int, seed: int) -> bytes:
    """Return `count` bytes with the given CRC32; at least 4, so that there are enough to choose from."""
    prefix = random.Random(seed).randbytes(count - 4)
    base = zlib.crc32(prefix + bytes(4))
    # The CRC32 is affine in its input: find the bits that flip exactly the difference.
    wanted, chosen = base ^ crc, 0
    rows: dict[int, tuple[int, int]] = {}
    for bit in range(32):
        image, bits = zlib.crc32(prefix + (1 << bit).to_bytes(4, "little")) ^ base, 1 << bit
        for top, (other, other_bits) in sorted(rows.items(), reverse=True):
            if image >> top & 1:
                image, bits = image ^ other, bits ^ other_bits
        rows[image.bit_length() - 1] = (image, bits)
    for top, (image, bits) in sorted(rows.items(), reverse=True):
        if wanted >> top & 1:
            wanted, chosen = wanted ^ image, chosen ^ bits
    return prefix + chosen.to_bytes(4, "little")


def _forge(tensor: TensorInfo, crcs: list[int]) -> Array:
    data = b"".join(_forge_any(tensor_bytes(tensor), crc, index) for index, crc in enumerate(crcs))
    return np.frombuffer(data, tensor.dtype).reshape(len(crcs), *tensor.shape[1:])


def _forge_any(count: int, crc: int, seed: int) -> bytes:
    if count >= 4:
        return forge_bytes(count, crc, seed)
    return next(data for n in range(256**count) if zlib.crc32(data := n.to_bytes(count, "little")) == crc)


def _column(records: list[bytes], tensor: TensorInfo, offset: int) -> tuple[Array, int]:
    size = tensor_bytes(tensor)
    data = b"".join(record[offset : offset + size] for record in records)
    values = np.frombuffer(data, tensor.dtype).reshape(len(records), *tensor.shape[1:])
    return values, offset + size + -size % 4


def _window(stage: StageFile, golden: Golden, made: Golden, window: int) -> bytes:
    starts = window in golden.resets
    # A later stage is fed what an earlier one made.
    values = {**golden.inputs, **made.outputs}
    parts = [values[tensor.name][window].tobytes() for tensor in stage.inputs]
    parts += [_state(cache, golden, window, starts) for cache in stage.caches]
    parts += [made.outputs[tensor.name][window].tobytes() for tensor in stage.outputs]
    parts += [made.caches[cache.tensor.name][window].tobytes() for cache in stage.caches]
    return struct.pack("<i", starts) + b"".join(parts)


def _state(cache: CacheInfo, golden: Golden, window: int, starts: bool) -> bytes:
    if starts:
        return np.full(cache.tensor.shape[1:], cache.initial, cache.tensor.dtype).tobytes()
    return golden.caches[cache.tensor.name][window - 1].tobytes()


def _tensor(tensor: TensorInfo, slot: int) -> bytes:
    words = (slot, DL_TYPES[tensor.dtype], tensor.exponent, len(tensor.shape), *tensor.shape)
    return _text(tensor.name) + struct.pack(f"<{len(words)}i", *words)


def _text(text: str) -> bytes:
    return struct.pack("<i", len(text.encode())) + text.encode()
