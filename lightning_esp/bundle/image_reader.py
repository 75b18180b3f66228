"""`ModelImage`: what one container file of a model holds; see `image.py` for its form."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from lightning_esp.bundle.audio import FIELDS, KINDS
from lightning_esp.bundle.image import (
    ACTIVATIONS,
    ALIGNMENT,
    CONFIG,
    DTYPES,
    FIRST_FILE,
    GOLDEN,
    HEADER_BYTES,
    MAGIC,
    NORMALIZE,
    REALS,
    VERSION,
    WINDOW_FUNCTIONS,
)
from lightning_esp.chips import ARITHMETICS
from lightning_esp.detection import DetectorSettings
from lightning_esp.errors import BundleError
from lightning_esp.quantization import CacheInfo, StageFile, TensorInfo

Choice = TypeVar("Choice")


@dataclass(frozen=True)
class ModelImage:
    """A model in one container, as the chip reads it.

    Args:
        name: of the model; its C++ namespace is `lesp::model_<name>`.
        target: its chip.
        window: frames of one inference.
        stride: frames of its smallest step.
        delay: output frames that it trails the offline output.
        frame_period_us: microseconds from frame to frame; 0: not known.
        half_even: whether the chip rounds 2.5 to 2.
        inputs: of the model.
        outputs: of the model.
        stages: with the bytes of their files, without caches that a file keeps itself.
        files: name, partition, bytes and CRC32 of each.
        labels: names of the output classes.
        front_end: as `FrontEnd.describe()`, or `kind`, `mean` and `factor` of raw readings; None: the model takes frames.
        detector: None: there is none.
        estimated: bytes of RAM, and of parameters where they are copied.
        golden: windows, as `pack_golden` packs them.
        crc: CRC32 of the container.
    """

    name: str
    target: str
    window: int
    stride: int
    delay: int
    frame_period_us: int
    half_even: bool
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    stages: tuple[StageFile, ...] = field(repr=False)
    files: tuple[tuple[str, str, int, int], ...]
    labels: tuple[str, ...]
    front_end: dict[str, Any] | None = field(repr=False)
    detector: DetectorSettings | None
    estimated: tuple[int, int]
    golden: bytes = field(repr=False)
    crc: int


def read_image(data: bytes) -> ModelImage:
    """Read a container.

    Args:
        data: content of the file that `lightning-esp pack` writes; bytes behind its end are ignored, as in flash.

    Raises:
        BundleError: it is none, of another version, cut off or changed.
    """
    crc, sections = _split(data)
    try:
        values = _Fields(sections[CONFIG]).model()
        stages = [_stage(fields, sections[FIRST_FILE + index]) for index, fields in enumerate(values.pop("stages"))]
        values["files"] = tuple(values["files"])
        for stage, (name, _, size, file_crc) in zip(stages, values["files"], strict=True):
            if (len(stage.data), zlib.crc32(stage.data)) != (size, file_crc):
                raise BundleError(f"{name} in the container is not what its configuration says; pack the bundle again.")
        return ModelImage(**values, stages=tuple(stages), golden=sections.get(GOLDEN, b""), crc=crc)
    except (KeyError, IndexError, ValueError, struct.error) as error:
        raise BundleError(
            f"the container holds fields that it cannot have ({type(error).__name__}: {error}); pack the bundle again."
        ) from error


def _split(data: bytes) -> tuple[int, dict[int, bytes]]:
    if data[: len(MAGIC)] != MAGIC or len(data) < HEADER_BYTES + 4:
        raise BundleError("this is no container of a model; `lightning-esp pack` makes one of a bundle.")
    version, size, crc, count = struct.unpack_from("<4I", data, len(MAGIC))
    if version != VERSION:
        raise BundleError(f"the container has form {version}, this version reads {VERSION}; pack the bundle again.")
    if size > len(data) or zlib.crc32(data[HEADER_BYTES:size]) != crc:
        raise BundleError("the container is cut off or was changed (its CRC32 differs); pack the bundle again.")
    if HEADER_BYTES + 4 + 12 * count > size:
        raise BundleError("the container's table of sections is longer than the container; pack the bundle again.")
    entries = list(struct.iter_unpack("<3I", data[HEADER_BYTES + 4 : HEADER_BYTES + 4 + 12 * count]))
    for kind, offset, length in entries:
        if offset % ALIGNMENT or offset + length > size:
            raise BundleError(f"section {kind} of the container lies outside of it; pack the bundle again.")
    return crc, {kind: data[offset : offset + length] for kind, offset, length in reversed(entries)}


def _pick(choices: Sequence[Choice], index: int) -> Choice:
    if not 0 <= index < len(choices):
        raise ValueError(f"{index}, which is none of {len(choices)} choices")
    return choices[index]


def _stage(values: dict[str, Any], data: bytes) -> StageFile:
    return StageFile(data=data, native_caches=(), **values)


class _Fields:
    """The fields of a configuration, one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data, self._position = data, 0

    def model(self) -> dict[str, Any]:
        """Return all of them; the file of each stage apart."""
        *_, stages, labels = (self._word() for _ in range(4))
        values: dict[str, Any] = {"name": self._text(), "target": self._text()}
        values |= {key: self._word() for key in ("window", "stride", "delay", "frame_period_us")}
        values["half_even"] = bool(self._word())
        values |= {"inputs": self._tensors(), "outputs": self._tensors()}
        values |= {"stages": [], "files": []}
        for _ in range(stages):
            values["stages"].append(
                {"name": self._text(), "inputs": self._tensors(), "outputs": self._tensors(), "caches": self._caches()}
            )
            values["files"].append((self._text(), self._text(), *struct.unpack("<2I", self._take(8))))
        values["labels"] = tuple(self._text() for _ in range(labels))
        values["front_end"], values["detector"] = self._front_end(), self._detector()
        values["estimated"] = (self._word(), self._word())
        if self._position != len(self._data):
            raise ValueError(f"{len(self._data) - self._position} bytes behind the last field")
        return values

    def _front_end(self) -> dict[str, Any] | None:
        kind = self._word()
        if kind == 0:
            return None
        if kind == NORMALIZE:
            return {"kind": "Normalize", "mean": list(self._reals()), "factor": list(self._reals())}
        config: dict[str, Any] = {name: self._real() if name in REALS else self._word() for name in FIELDS}
        config["window_type"] = _pick(WINDOW_FUNCTIONS, config["window_type"])
        config["arithmetic"] = _pick(ARITHMETICS, self._word())
        sizes = {name: self._word() for name in ("bands", "frame_samples", "hop_samples")}
        return {
            "kind": _pick(list(KINDS), kind - 1),
            "config": config,
            **sizes,
            "mean": list(self._reals()),
            "scale": list(self._reals()),
        }

    def _detector(self) -> DetectorSettings | None:
        thresholds = self._reals()
        average, minimum, refractory, activation, retrigger = (self._word() for _ in range(5))
        if not thresholds:
            return None
        return DetectorSettings(
            thresholds, average, minimum, refractory, _pick(ACTIVATIONS, activation), bool(retrigger)
        )

    def _tensors(self) -> tuple[TensorInfo, ...]:
        return tuple(self._tensor() for _ in range(self._word()))

    def _caches(self) -> tuple[CacheInfo, ...]:
        return tuple(CacheInfo(self._tensor(), self._text(), self._word()) for _ in range(self._word()))

    def _tensor(self) -> TensorInfo:
        name, dtype, exponent, rank = self._text(), _pick(DTYPES, self._word()), self._word(), self._word()
        shape = tuple(self._word() for _ in range(rank))
        layout = tuple(self._word() for _ in range(rank))
        time_axis, _ = self._word(), self._word()
        return TensorInfo(name, shape, dtype, exponent, layout, None if time_axis < 0 else time_axis)

    def _text(self) -> str:
        size = self._word()
        return self._take(-(-(size + 1) // 4) * 4)[:size].decode()

    def _reals(self) -> tuple[float, ...]:
        size = self._word()
        return struct.unpack(f"<{size}f", self._take(4 * size))

    def _real(self) -> float:
        return float(struct.unpack("<f", self._take(4))[0])

    def _word(self) -> int:
        return int(struct.unpack("<i", self._take(4))[0])

    def _take(self, count: int) -> bytes:
        data = self._data[self._position : self._position + count]
        if count < 0 or len(data) != count:
            raise ValueError(f"{count} bytes at {self._position} of {len(self._data)}")
        self._position += count
        return data
