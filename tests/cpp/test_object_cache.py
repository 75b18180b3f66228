"""Objects that a run of the tests has compiled already."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cpp import object_cache
from tests.cpp.compile import needs_compiler

pytestmark = needs_compiler


def kept(folder: Path) -> int:
    return sum(path.suffix != ".lock" for path in folder.iterdir())


@pytest.fixture
def compile_in(tmp_path, monkeypatch):
    """Compile a source in a folder with options, as a build does that calls the cache before its compiler."""
    folder, source = tmp_path / "objects", tmp_path / "source.cpp"
    folder.mkdir()
    monkeypatch.setenv(object_cache.FOLDER, str(folder))

    def compile_source(name: str, text: str, *options: str) -> int:
        source.write_text(text)
        (tmp_path / name).mkdir(exist_ok=True)
        command = [sys.executable, object_cache.__file__, "c++", "-g1", *options, "-c", source, "-o", "made.o"]
        subprocess.run(command, cwd=tmp_path / name, check=True)
        assert (tmp_path / name / "made.o").stat().st_size > 0
        return kept(folder)

    return compile_source


def test_builds_in_other_folders_share_an_object(compile_in):
    assert compile_in("first", "int value = NUMBER;", "-DNUMBER=1", "-O1", "-fno-rtti") == 1
    assert compile_in("second", "int value = NUMBER;", "-fno-rtti", "-DNUMBER=1", "-O1") == 1


@pytest.mark.parametrize(("text", "option"), [("int value = NUMBER + 1;", "-O1"), ("int value = NUMBER;", "-O2")])
def test_another_text_or_option_is_another_object(compile_in, text, option):
    assert compile_in("first", "int value = NUMBER;", "-DNUMBER=1", "-O1") == 1
    assert compile_in("second", text, "-DNUMBER=1", option) == 2


def test_a_macro_that_changes_the_text_is_another_object(compile_in):
    assert compile_in("first", "int value = NUMBER;", "-DNUMBER=1") == 1
    assert compile_in("first", "int value = NUMBER;", "-DNUMBER=2") == 2
