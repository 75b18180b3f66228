"""`dl::audio` in the firmware: linked for a model whose front end is in float, and for none else."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cpp.compile import COMPONENTS, FLAGS, SOURCE, needs_compiler
from tests.cpp.object_cache import compile_object

OK, NOT_SUPPORTED = "0\n", f"{0x106}\n"


@pytest.fixture(scope="module")
def link(tmp_path_factory):
    """Link the program with the component as an archive, as ESP-IDF does, and options for the linker."""
    directory: Path = tmp_path_factory.mktemp("choice")
    sources = [*(COMPONENTS / "lesp_audio/src").glob("*.cpp"), *(COMPONENTS / "lesp_streaming/src").glob("golden.cpp")]
    sources += [SOURCE / "src" / name for name in ("fake_audio.cpp", "fake_heap.cpp", "front_end_choice.cpp")]
    includes = [f"-I{COMPONENTS / name / 'include'}" for name in ("lesp_audio", "lesp_streaming")]
    objects = []
    for source in sources:
        objects.append(directory / f"{source.stem}.o")
        options = ["-isystem", SOURCE / "fake", *includes, "-c", source, "-o", objects[-1]]
        done = compile_object([str(word) for word in ("c++", *FLAGS, "-ffunction-sections", *options)])
        assert done.returncode == 0, done.stderr.decode()
    subprocess.run(["ar", "rcs", directory / "audio.a", *objects[:-1]], check=True)

    def build(*options: str) -> Path:
        program = directory / "_".join(("program", *options)).replace(",", "_")
        command = ["c++", objects[-1], *options, directory / "audio.a", "-Wl,--gc-sections", "-o", program]
        subprocess.run(command, check=True)
        return program

    return build


def start(program: Path, arithmetic: str) -> str:
    return subprocess.run([program, arithmetic], capture_output=True, text=True, check=True).stdout


@needs_compiler
@pytest.mark.skipif(shutil.which("nm") is None, reason="needs nm")
def test_the_float_front_end_is_linked_for_whom_asks(link):
    plain, asked = link(), link("-Wl,-u,audio_float_front_end")
    symbols = {
        program: subprocess.run(["nm", "-C", program], capture_output=True, text=True, check=True).stdout
        for program in (plain, asked)
    }
    for name in ("Fbank", "MFCC", "Spectrogram"):
        assert f"dl::audio::{name}::" in symbols[asked]
        assert f"dl::audio::{name}::" not in symbols[plain]
    assert "FixedPointFeatures::init" in symbols[plain]
    assert (start(plain, "fixed"), start(asked, "fixed")) == (OK, OK)
    assert (start(plain, "float"), start(asked, "float")) == (NOT_SUPPORTED, OK)
