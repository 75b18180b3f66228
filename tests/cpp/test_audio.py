"""components/lesp_audio on the host, against a stand-in of `dl::audio` that computes features by their definitions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cpp.compile import COMPONENTS, compile_program, needs_compiler, run_program

pytestmark = needs_compiler

SOURCES = [
    *(f"lesp_audio/src/{path.name}" for path in sorted((COMPONENTS / "lesp_audio/src").glob("*.cpp"))),
    "lesp_streaming/src/frame_buffer.cpp",
    "lesp_streaming/src/quantization.cpp",
    "fake_audio.cpp",
]


@pytest.mark.parametrize("sanitizer", [(), ("-fno-sanitize=address", "-fsanitize=thread")], ids=["address", "thread"])
def test_parts_without_a_model(tmp_path, sanitizer):
    if sanitizer and not has_thread_sanitizer(tmp_path):
        pytest.skip("the compiler has no thread sanitizer")
    options = (*sanitizer, "-O1", "-pthread")
    program = compile_program(
        tmp_path / "units", ["audio_units.cpp", *SOURCES], ["lesp_audio", "lesp_streaming"], *options
    )
    assert run_program(program, tmp_path / "a.wav") == "PASS audio units\n"


def has_thread_sanitizer(directory: Path) -> bool:
    import subprocess

    source = directory / "empty.cpp"
    source.write_text("int main() {}\n")
    command = ["c++", "-fsanitize=thread", str(source), "-o", str(directory / "empty")]
    return subprocess.run(command, capture_output=True).returncode == 0
