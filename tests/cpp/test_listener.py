"""components/lesp_listener on the host: tasks as threads, and models that say what they hear."""

from __future__ import annotations

import pytest

from tests.cpp.compile import COMPONENTS, compile_program, needs_compiler, run_program
from tests.support.audio_sources import has_thread_sanitizer

pytestmark = needs_compiler

SOURCES = [
    *(
        f"{name}/src/{path.name}"
        for name in ("lesp_audio", "lesp_streaming")
        for path in sorted((COMPONENTS / name / "src").glob("*.cpp"))
    ),
    *(
        f"lesp_listener/src/{path.name}"
        for path in sorted((COMPONENTS / "lesp_listener/src").glob("*.cpp"))
        if path.name != "bundled.cpp"
    ),
    *("fake_audio.cpp", "fake_dl.cpp", "fake_idf.cpp", "fake_services.cpp"),
    "../boards/pins/lesp_board/no_microphone.cpp",
]


@pytest.mark.parametrize("sanitizer", [(), ("-fno-sanitize=address", "-fsanitize=thread")], ids=["address", "thread"])
def test_listener(tmp_path, sanitizer):
    if sanitizer and not has_thread_sanitizer(tmp_path):
        pytest.skip("the compiler has no thread sanitizer")
    options = (*sanitizer, "-O1", "-pthread")
    sources = ["listener_units.cpp", "listener_calls.cpp", "listener_gates.cpp", *SOURCES]
    program = compile_program(tmp_path / "units", sources, ["lesp_audio", "lesp_streaming", "lesp_listener"], *options)
    assert run_program(program).endswith("\nPASS listener\n")  # behind what loading says
