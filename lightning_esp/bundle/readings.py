"""Raw readings in a bundle: normalisation of each channel, and golden readings.

`golden/<name>_readings.bin` holds what the sensor would have given in the first golden windows. All numbers are
little-endian: the magic `LER1`, the numbers of windows, of frames in a window and of channels, then the readings (float32,
frame by frame).
"""

from __future__ import annotations

import math
import struct

import numpy as np

from lightning_esp.bundle.literals import float_array
from lightning_esp.bundle.schema import FrontEndEntry, Manifest, NormalizeEntry
from lightning_esp.bundle.tensors import frame_size, input_tensors
from lightning_esp.errors import BundleError
from lightning_esp.frontend import Normalize, restore_normalize
from lightning_esp.quantization import QuantizedModel
from lightning_esp.verification import Array, Golden

MAGIC = b"LER1"
_HEADER_BYTES = 16


def find_normalize(front_end: FrontEndEntry | NormalizeEntry | None) -> Normalize | None:
    """Return the normalisation of a manifest's `frontend`; None where the model takes samples or frames.

    Raises:
        ConfigurationError: it is none that could be computed.
    """
    return restore_normalize(vars(front_end)) if isinstance(front_end, NormalizeEntry) else None


def read_normalize(manifest: Manifest, quantized: QuantizedModel) -> Normalize | None:
    """Return the normalisation of a bundle's manifest, checked against its model; None where it takes samples or frames.

    Raises:
        BundleError: it is not one for each value of a frame of the first input.
        ConfigurationError: it is none that could be computed.
    """
    normalize, tensor = find_normalize(manifest.frontend), input_tensors(quantized)[0]
    if normalize is not None and (tensor.time_axis is None or frame_size(tensor) != normalize.channels):
        raise BundleError(
            f"frontend.channels is {normalize.channels}, and a frame of input {tensor.name!r} holds {frame_size(tensor)} values; "
            "they must be equal. Export again."
        )
    return normalize


def render_normalization(front_end: FrontEndEntry | NormalizeEntry | None) -> str:
    """Return the block of `model_config.hpp` about raw readings; empty where the model takes none."""
    normalize = find_normalize(front_end)
    if normalize is None:
        return ""
    return (
        "// A reading becomes (reading - mean) * factor, in float32 and in this order, for each channel.\n"
        f"{float_array('kMean', normalize.mean.tolist())}\n\n{float_array('kFactor', normalize.factor.tolist())}\n\n"
        "inline constexpr streaming::Normalization kNormalization = {.mean = kMean, .factor = kFactor};"
    )


def pack_readings(golden: Golden) -> bytes:
    """Return the bytes of `golden/<name>_readings.bin`; none where there are no readings."""
    if golden.readings is None:
        return b""
    return MAGIC + struct.pack("<3I", *golden.readings.shape) + np.ascontiguousarray(golden.readings, "<f4").tobytes()


def unpack_readings(data: bytes, origin: str, most: tuple[int, int, int]) -> Array:
    """Read what `pack_readings` packed, `[windows, frames, channels]`.

    Args:
        data: the bytes.
        origin: what messages call the file.
        most: the golden windows, of which the first may have readings, the frames of each, and the values of a frame.

    Raises:
        BundleError: they are no readings, cut off, or not those of the model.
    """
    if data[: len(MAGIC)] != MAGIC or len(data) < _HEADER_BYTES:
        raise BundleError(f"{origin} holds no golden readings: it begins with {data[:4]!r}, not with {MAGIC!r}.")
    shape = struct.unpack_from("<3I", data, len(MAGIC))
    fits = 0 < shape[0] <= most[0] and shape[1:] == most[1:]
    if not fits or len(data) != _HEADER_BYTES + 4 * math.prod(shape):
        raise BundleError(
            f"{origin} has {len(data)} bytes and says {shape} (windows, frames, channels); the model has up to {most}. File and "
            "manifest do not belong together; export again."
        )
    return np.frombuffer(data, "<f4", offset=_HEADER_BYTES).reshape(shape).astype(np.float32)
