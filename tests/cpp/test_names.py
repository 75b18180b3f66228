"""Names of models: any that is allowed compiles, whatever else is called so."""

from __future__ import annotations

import subprocess

from lightning_esp.bundle import write_bundle
from lightning_esp.config import Deployment
from tests.bundle import handmade
from tests.cpp.compile import COMPONENTS, FLAGS, needs_compiler

# Words of C++, functions and macros of C, namespaces that the headers use, and those of the firmware.
NAMES = (
    "class",
    "time",
    "bind",
    "errno",
    "assert",
    "linux",
    "std",
    "dl",
    "audio",
    "streaming",
    "update",
    "model",
    "lesp",
)
HEADERS = (
    "cassert", "cerrno", "cmath", "cstdio", "ctime", "sys/socket.h", "unistd.h",
    "audio/feature_extractor.hpp", "listener/model.hpp", "streaming/pipeline.hpp",
)  # fmt: skip
# As the compilers of ESP-IDF are called: with the macros of GNU.
OPTIONS = ["-fsyntax-only", "-std=gnu++20", *(flag for flag in FLAGS if not flag.startswith("-std"))]


@needs_compiler
def test_any_name_compiles_beside_all_headers(tmp_path):
    lines = [f"#include <{header}>" for header in HEADERS]
    for name in NAMES:
        write_bundle({"esp32s3": handmade.one_stage()}, tmp_path / name, Deployment(name=name))
        lines.append(f'#include "{tmp_path / name}/components/lesp_model/esp32s3/model_config.hpp"')
    uses = [f'static_assert(lesp::model_{name}::kConfig.name == "{name}");' for name in NAMES]
    source = tmp_path / "names.cpp"
    source.write_text("\n".join([*lines, *uses]) + "\n")
    includes = [f"-I{path}/include" for path in sorted(COMPONENTS.iterdir()) if (path / "include").is_dir()]
    fake = COMPONENTS.parents[1] / "tests/cpp/fake"
    done = subprocess.run(
        ["c++", *OPTIONS, "-isystem", str(fake), *includes, str(source)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
