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
from tests.support.real_headers import INCLUDES, STUBS

ESP_DL = os.environ.get("ESP_DL_PATH")

INCLUDES += ["dl/base/isa", "dl/module/include", "fbs_loader/include"]


@pytest.mark.skipif(ESP_DL is None, reason="ESP_DL_PATH names no checkout of ESP-DL")
@pytest.mark.parametrize(
    "source", sorted(path.name for path in (PROJECT / "components/lesp_streaming/src").glob("*.cpp"))
)
def test_every_call_exists_in_esp_dl(tmp_path, source):
    assert ESP_DL is not None
    # Those of ESP-IDF, in C; ESP-DL's own are in C++.
    shutil.copytree(SOURCE / "fake", tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.hpp"))
    for name, text in STUBS.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"#pragma once\n{text}")
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
