"""Builds one host program from a few sources, with the warnings and sanitizers of the CMake project beside it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cpp.object_cache import compile_object

SOURCE = Path(__file__).parent
COMPONENTS = SOURCE.parents[1] / "idf_project/components"

FLAGS = ["-std=c++20", "-Wall", "-Wextra", "-Werror", "-fno-exceptions", "-fno-rtti", "-g1", "-fno-omit-frame-pointer"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]

needs_compiler = pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++20 compiler")


def compile_program(output: Path, sources: Sequence[str], components: Sequence[str], *options: str) -> Path:
    """Compile a program and return its path.

    Args:
        output: where it goes.
        sources: paths below `tests/cpp/src`, or of a component, as `lesp_streaming/src/detector.cpp`.
        components: the components whose headers it sees.
        options: further options for the compiler.
    """
    names = [*sources, "fake_heap.cpp"]
    found = [SOURCE / "src" / name if "/" not in name else COMPONENTS / name for name in names]
    includes = [f"-I{SOURCE / 'src'}", *(f"-I{COMPONENTS / name / 'include'}" for name in components)]
    compiler = ["c++", *FLAGS, *SANITIZERS, *options]
    objects = [output.with_name(f"{output.name}_{number}_{path.stem}.o") for number, path in enumerate(found)]
    for path, made in zip(found, objects, strict=True):
        command = [*compiler, "-isystem", SOURCE / "fake", *includes, "-c", path, "-o", made]
        done = compile_object([str(part) for part in command])
        assert done.returncode == 0, done.stderr.decode()
    linked = subprocess.run([str(part) for part in (*compiler, *objects, "-o", output)], capture_output=True, text=True)
    assert linked.returncode == 0, linked.stderr
    return output


def run_program(program: Path, *arguments: str | Path) -> str:
    """Run a program that must succeed; return what it printed."""
    done = subprocess.run([str(part) for part in (program, *arguments)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout
