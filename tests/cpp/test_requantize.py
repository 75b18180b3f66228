"""Changes of exponent with integers: every value, and every value against ESP-DL's own code where `ESP_DL_PATH` names it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cpp.compile import COMPONENTS, SOURCE, compile_program, needs_compiler, run_program
from tests.support.real_headers import INCLUDES, STUBS

ESP_DL = os.environ.get("ESP_DL_PATH")
SOURCES = ["requantize_cases.cpp", "lesp_streaming/src/requantize.cpp", "fake_dl.cpp"]
# What the sources of ESP-DL want beside what its headers want; nothing of it runs here.
FURTHER = {
    "esp_random.h": "#include <stddef.h>\n#include <stdint.h>\nuint32_t esp_random(void);\nvoid esp_fill_random(void *, size_t);\n",
    "esp_memory_utils.h": "".join(
        f"bool {name}(const void *);\n" for name in ("esp_ptr_external_ram", "esp_ptr_in_drom", "esp_ptr_internal")
    ),
    "esp_heap_caps.h": STUBS["esp_heap_caps.h"]
    + (
        "void *heap_caps_aligned_alloc(size_t, size_t, uint32_t);\nsize_t heap_caps_get_largest_free_block(uint32_t);\n"
        "void *heap_caps_aligned_calloc(size_t, size_t, size_t, uint32_t);\n"
    ),
}


@needs_compiler
def test_every_value_is_rounded_half_up_and_saturates(tmp_path):
    program = compile_program(tmp_path / "cases", SOURCES, ["lesp_streaming"], "-O1")
    assert run_program(program) == "0 differ\n"


@needs_compiler
@pytest.mark.parametrize(
    ("right", "wrong"),
    [("from[i] + half", "from[i]"), ("std::min(-shift, 15)", "std::min(-shift, 14)"), ("shift, 30", "shift, 15")],
)
def test_another_rule_is_noticed(tmp_path, right, wrong):
    header = (COMPONENTS / "lesp_streaming/include/streaming/requantize.hpp").read_text()
    assert right in header
    (tmp_path / "streaming").mkdir()
    (tmp_path / "streaming/requantize.hpp").write_text(header.replace(right, wrong))
    with pytest.raises(AssertionError):
        run_program(compile_program(tmp_path / "cases", SOURCES, ["lesp_streaming"], "-O1", f"-I{tmp_path}"))


@needs_compiler
@pytest.mark.skipif(ESP_DL is None, reason="ESP_DL_PATH names no checkout of ESP-DL")
def test_every_value_is_that_of_esp_dl(tmp_path):
    assert ESP_DL is not None
    for name, text in {**STUBS, **FURTHER}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"#pragma once\n{text}")
    for name in ("esp_err.h", "esp_log.h", "esp_timer.h"):
        (tmp_path / name).write_text((SOURCE / "fake" / name).read_text())
    shutil.copytree(SOURCE / "fake/freertos", tmp_path / "freertos")
    includes = [tmp_path, *(Path(ESP_DL) / name for name in INCLUDES)]
    own = [f"-I{COMPONENTS / 'lesp_streaming/include'}", f"-I{SOURCE / 'src'}", "-DHAS_ESP_DL=1"]
    flags = ["-std=gnu++20", "-O3", "-ffast-math", "-w", "-fpermissive", "-ffunction-sections"]
    sources = [SOURCE / "src/requantize_cases.cpp", COMPONENTS / "lesp_streaming/src/requantize.cpp"]
    sources += [Path(ESP_DL) / name for name in ("dl/tensor/src/dl_tensor_base.cpp", "dl/tool/src/dl_tool.cpp")]
    system = [argument for folder in includes for argument in ("-isystem", folder)]
    link = ["-static", "-Wl,--gc-sections", "-Wl,--unresolved-symbols=ignore-all", "-o", tmp_path / "real"]
    command = list(map(str, ["c++", *flags, *own, *system, *sources, *link]))
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:4000]
    assert run_program(tmp_path / "real") == "0 differ\n"
