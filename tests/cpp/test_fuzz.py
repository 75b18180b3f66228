"""Inputs that nobody wrote, under the sanitizers: WAV files, golden samples, containers of models, and what the buffers are
told to do.

The driver needs no libFuzzer and makes the same inputs every time; `fuzz/run.sh` runs the same targets under libFuzzer.
"""

from __future__ import annotations

import re
import struct
import subprocess
from pathlib import Path

import pytest

from tests.cpp.compile import COMPONENTS, SOURCE, compile_program, needs_compiler, run_program
from tests.support.audio_sources import SOURCES

pytestmark = needs_compiler

FEW, MANY = 100_000, 5_000_000

FORMAT = struct.pack("<2H2I2H", 1, 1, 16000, 32000, 2, 16)
SEEDS = {
    # One byte for the size of the pieces in which it is read, then a file of four samples.
    "wav": [
        b"\0RIFF" + struct.pack("<I", 44) + b"WAVEfmt " + struct.pack("<I", 16) + FORMAT + b"data\x08\0\0\0" + bytes(8),
        b"\3RIFF" + struct.pack("<I", 74) + b"WAVELIST\x03\0\0\0abc\0fmt " + struct.pack("<I", 40)
        + struct.pack("<2H2I2H", 0xFFFE, 2, 8000, 32000, 4, 16) + struct.pack("<2HI", 22, 16, 3) + b"\1\0" + bytes(14)
        + b"data\xff\xff\xff\xff" + bytes(range(16)),
    ],
    # What follows the magic: one recording of 12 samples, 2 frames, 2 bands.
    "golden": [struct.pack("<4I", 1, 12, 2, 2) + bytes(range(24)) + struct.pack("<4f", 0, 1, -1, 0.5)],
    # The first byte chooses the ring (below 128) or the frame buffer.
    "buffers": [bytes([0, 9, *range(0, 256, 5)]), bytes([200, 2, 2, 27, 1, *range(200)])],
}  # fmt: skip


def _text(name: bytes) -> bytes:
    return struct.pack("<I", len(name)) + name + bytes(4 - len(name) % 4)


def _tensor(name: bytes) -> bytes:
    """One int8 value."""
    return _text(name) + struct.pack("<7i", 0, -4, 1, 1, 0, 0, 1)


# The smallest model: one stage, one cache, a class, no front end, one golden window.
_X, _Y = struct.pack("<I", 1) + _tensor(b"x"), struct.pack("<I", 1) + _tensor(b"y")
_STAGE = _text(b"s") + _X + _Y + struct.pack("<I", 1) + _tensor(b"c") + _text(b"n") + struct.pack("<i", 0)
_CONFIG = (
    struct.pack("<4I", 4, 1, 1, 1) + _text(b"m") + _text(b"t") + struct.pack("<5i", 1, 1, 0, 0, 0) + _X + _Y + _STAGE
    + _text(b"f") + _text(b"p") + struct.pack("<2I", 16, 0xECBB4B55) + _text(b"l") + struct.pack("<I", 0)
    + struct.pack("<If5i", 1, 0.5, 1, 1, 0, 0, 0) + struct.pack("<2I", 9, 9)
)  # fmt: skip
# The first byte is an even number: the configuration alone; an odd one: all behind the header.
SEEDS["image"] = [b"\0" + _CONFIG]


SOURCES_OF = {
    "image": [
        "lesp_streaming/src/golden.cpp",
        "lesp_streaming/src/model_image.cpp",
        "lesp_streaming/src/model_image_reader.cpp",
    ],
    "wav": ["lesp_audio/src/byte_source.cpp", "lesp_audio/src/wav_reader.cpp"],
    "golden": SOURCES,
    "buffers": ["lesp_listener/src/frame_ring.cpp", "lesp_streaming/src/frame_buffer.cpp"],
}


def compile_target(directory: Path, name: str, sources: list[str]) -> Path:
    targets = [str(SOURCE / "fuzz" / file) for file in (f"fuzz_{name}.cpp", "driver.cpp")]
    return compile_program(
        directory / name, [*targets, *sources], ["lesp_audio", "lesp_streaming", "lesp_listener"], "-O1"
    )


def write_seeds(directory: Path, name: str) -> list[Path]:
    paths = [directory / f"{name}_{number}" for number in range(len(SEEDS[name]))]
    for path, seed in zip(paths, SEEDS[name], strict=True):
        path.write_bytes(seed)
    return paths


@pytest.mark.parametrize("inputs", [FEW, pytest.param(MANY, marks=pytest.mark.full)])
@pytest.mark.parametrize("name", SEEDS)
def test_no_input_breaks(tmp_path, name, inputs):
    program = compile_target(tmp_path, name, SOURCES_OF[name])
    assert run_program(program, str(inputs), *write_seeds(tmp_path, name)) == f"PASS {inputs} inputs\n"


def test_a_planted_fault_is_found(tmp_path):
    """A WAV reader that believes the size of the format chunk; the message holds the bytes that show it."""
    text = (COMPONENTS / "lesp_audio/src/wav_reader.cpp").read_text()
    trusting = text.replace("std::min<std::uint32_t>(bytes, sizeof(format))", "bytes")
    assert trusting != text
    (tmp_path / "wav_reader.cpp").write_text(trusting)
    program = compile_target(tmp_path, "wav", ["lesp_audio/src/byte_source.cpp", str(tmp_path / "wav_reader.cpp")])
    done = subprocess.run([program, str(FEW), *write_seeds(tmp_path, "wav")], capture_output=True, text=True)
    assert done.returncode != 0
    (found,) = re.findall(r"input \d+ fails:((?: \w\w)+)\n", done.stderr)
    assert bytes.fromhex(found)[1:5] == b"RIFF"
