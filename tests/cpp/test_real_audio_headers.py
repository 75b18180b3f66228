"""components/lesp_audio against the headers of ESP-DL itself and of its component dl_fft, where both are named by environment.

`ESP_DL_PATH` names the folder `esp-dl` of a checkout of ESP-DL 3.3.9, `DL_FFT_PATH` its folder `tools/dl_fft`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cpp.compile import COMPONENTS, SOURCE
from tests.support.real_headers import INCLUDES, STUBS

ESP_DL, DL_FFT = os.environ.get("ESP_DL_PATH"), os.environ.get("DL_FFT_PATH")
AUDIO_INCLUDES = [*INCLUDES, "audio/common", "audio/speech_features", "dl/base/isa"]


@pytest.mark.skipif(None in (ESP_DL, DL_FFT), reason="ESP_DL_PATH and DL_FFT_PATH name no checkout of ESP-DL")
@pytest.mark.parametrize("source", sorted(path.name for path in (COMPONENTS / "lesp_audio/src").glob("*.cpp")))
def test_every_call_exists_in_esp_dl(tmp_path, source):
    assert ESP_DL is not None
    assert DL_FFT is not None
    stubs = {**STUBS, "esp_attr.h": "#define IRAM_ATTR\n"}
    # What the headers of ESP-DL and the component both want of the heap.
    heap = (SOURCE / "fake/esp_heap_caps.h").read_text().replace("#pragma once\n", "")
    stubs["esp_heap_caps.h"] = f'{heap}extern "C" void *heap_caps_aligned_alloc(size_t, size_t, uint32_t);\n'
    # Those of ESP-IDF, in C; ESP-DL's own are in C++.
    shutil.copytree(SOURCE / "fake", tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.hpp"))
    for name, text in stubs.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"#pragma once\n{text}")
    folders = [tmp_path, *(Path(ESP_DL) / name for name in AUDIO_INCLUDES), Path(DL_FFT), Path(DL_FFT) / "base"]
    folders.append(Path(DL_FFT) / "base/isa")
    flags = ["-fsyntax-only", "-std=gnu++20", "-Wall", "-Wextra", "-Werror", "-fno-exceptions", "-fno-rtti"]
    system = [argument for folder in folders for argument in ("-isystem", folder)]
    own = [f"-I{COMPONENTS / name / 'include'}" for name in ("lesp_audio", "lesp_streaming")]
    command = ["c++", *flags, "-include", "cassert", *system, *own, COMPONENTS / "lesp_audio/src" / source]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
