"""Sources of the component `lesp_audio` for host programs."""

from __future__ import annotations

from pathlib import Path

from tests.cpp.compile import COMPONENTS

SOURCES = [
    *(f"lesp_audio/src/{path.name}" for path in sorted((COMPONENTS / "lesp_audio/src").glob("*.cpp"))),
    "lesp_streaming/src/frame_buffer.cpp",
    "lesp_streaming/src/quantization.cpp",
    "fake_audio.cpp",
]


def has_thread_sanitizer(directory: Path) -> bool:
    import subprocess

    source = directory / "empty.cpp"
    source.write_text("int main() {}\n")
    command = ["c++", "-fsanitize=thread", str(source), "-o", str(directory / "empty")]
    return subprocess.run(command, capture_output=True).returncode == 0
