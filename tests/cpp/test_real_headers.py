"""The component against the headers of ESP-DL itself, where `ESP_DL_PATH` names a checkout of 3.3.9 (its `esp-dl` folder).

The stand-in in `fake/` declares only what the component uses; this test tells whether ESP-DL declares it, too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cpp.host_build import PROJECT, SOURCE

ESP_DL = os.environ.get("ESP_DL_PATH")

# What the headers of ESP-DL themselves want of ESP-IDF.
STUBS = {
    "sdkconfig.h": "#include <assert.h>\n#include <limits.h>\n#define HEAP_IRAM_ATTR\n",
    "soc/soc_caps.h": "",
    "esp_memory_utils.h": "",
    "esp_mmu_map.h": "",
    "esp_partition.h": "",
    "spi_flash_mmap.h": "",
    "esp_system.h": '#include "esp_err.h"\n#include "esp_heap_caps.h"\n',
    "esp_cpu.h": "#include <stdint.h>\nstatic inline uint32_t esp_cpu_get_cycle_count(void) { return 0; }\n",
    "esp_idf_version.h": "#define ESP_IDF_VERSION_VAL(a, b, c) ((a) << 16 | (b) << 8 | (c))\n#define ESP_IDF_VERSION 0x050300\n",
    "esp_heap_caps.h": (
        "#include <stddef.h>\n#include <stdint.h>\n#define MALLOC_CAP_SPIRAM 1024\n#define MALLOC_CAP_INTERNAL 2048\n"
        '#define MALLOC_CAP_DEFAULT 4096\n#define MALLOC_CAP_8BIT 4\nextern "C" void heap_caps_free(void *);\n'
        'extern "C" void *heap_caps_calloc(size_t, size_t, uint32_t);\n'
        'extern "C" size_t heap_caps_get_free_size(uint32_t);\nextern "C" size_t heap_caps_get_total_size(uint32_t);\n'
    ),
}
INCLUDES = ["dl", "dl/tool/include", "dl/tensor/include", "dl/base", "dl/math/include", "dl/model/include"]
INCLUDES += ["dl/base/isa", "dl/module/include", "fbs_loader/include"]


@pytest.mark.skipif(ESP_DL is None, reason="ESP_DL_PATH names no checkout of ESP-DL")
@pytest.mark.parametrize(
    "source", sorted(path.name for path in (PROJECT / "components/lesp_streaming/src").glob("*.cpp"))
)
def test_every_call_exists_in_esp_dl(tmp_path, source):
    assert ESP_DL is not None
    for name, text in STUBS.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"#pragma once\n{text}")
    for name in ("esp_err.h", "esp_log.h", "esp_timer.h"):
        shutil.copy(SOURCE / "fake" / name, tmp_path)
    shutil.copytree(SOURCE / "fake/freertos", tmp_path / "freertos")
    system = [
        argument for folder in (tmp_path, *(Path(ESP_DL) / i for i in INCLUDES)) for argument in ("-isystem", folder)
    ]
    flags = [
        "-fsyntax-only",
        "-fpermissive",
        "-std=gnu++20",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-fno-exceptions",
        "-fno-rtti",
    ]
    component = PROJECT / "components/lesp_streaming"
    command = ["c++", *flags, *system, "-I", component / "include", component / "src" / source]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
