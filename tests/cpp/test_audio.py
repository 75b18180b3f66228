"""components/lesp_audio on the host, against a stand-in of `dl::audio` that computes features by their definitions."""

from __future__ import annotations

import pytest

from tests.cpp.compile import compile_program, needs_compiler, run_program
from tests.support.audio_sources import SOURCES, has_thread_sanitizer

pytestmark = needs_compiler


@pytest.mark.parametrize("sanitizer", [(), ("-fno-sanitize=address", "-fsanitize=thread")], ids=["address", "thread"])
def test_parts_without_a_model(tmp_path, sanitizer):
    if sanitizer and not has_thread_sanitizer(tmp_path):
        pytest.skip("the compiler has no thread sanitizer")
    options = (*sanitizer, "-O1", "-pthread")
    program = compile_program(
        tmp_path / "units", ["audio_units.cpp", *SOURCES], ["lesp_audio", "lesp_streaming"], *options
    )
    assert run_program(program, tmp_path / "a.wav") == "PASS audio units\n"
