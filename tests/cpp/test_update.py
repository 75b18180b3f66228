"""Updates of the model on flash and NVS in memory, through power cuts."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace

import pytest

from lightning_esp.bundle import golden, image, pack_image, write_bundle
from lightning_esp.config import Deployment
from tests.bundle import handmade
from tests.cpp.compile import COMPONENTS, SOURCE, compile_program, needs_compiler, run_program
from tests.cpp.host_build import PROJECT
from tests.cpp.script import with_scripts, write_script

SOURCES = [
    "update_units.cpp",
    "fake_flash.cpp",
    "fake_dl.cpp",
    "lesp_model_update/src/slots.cpp",
    "lesp_model_update/src/update.cpp",
    *(f"lesp_streaming/src/{path.name}" for path in sorted(COMPONENTS.glob("lesp_streaming/src/*.cpp"))),
]


def pack(directory, name, result):
    (target,) = {result[0].target}
    bundle = write_bundle({target: result}, directory / name, Deployment(name=name))
    path = directory / f"{name}.lesp"
    path.write_bytes(pack_image(bundle))
    return path


def scripted(result, made=None):
    """A model whose stages make `made`, or what they should."""
    quantized, verification = result
    if made is None:
        return with_scripts(quantized, verification.golden), verification
    stages = tuple(replace(s, data=write_script(s, verification.golden, made)) for s in quantized.stages)
    return replace(quantized, stages=stages), verification


def off_by_one(windows):
    output = next(iter(windows.outputs))
    return replace(windows, outputs={**windows.outputs, output: windows.outputs[output] ^ 1})


@needs_compiler
def test_updates_come_through_power_cuts(tmp_path, monkeypatch):
    result = handmade.one_stage()
    models = [
        pack(tmp_path, "older", scripted(handmade.one_stage(seed=9))),
        pack(tmp_path, "newer", scripted(handmade.one_stage())),
        pack(tmp_path, "wrong", scripted(result, off_by_one(result[1].golden))),
        pack(tmp_path, "foreign", handmade.one_stage("esp32p4")),
    ]
    monkeypatch.setattr(image, "take_windows", lambda data, windows: golden.take_windows(data, 0))
    models.append(pack(tmp_path, "untested", scripted(result)))
    assert max(path.stat().st_size for path in models) < 32 * 1024
    program = compile_program(tmp_path / "program", SOURCES, ["lesp_model_update", "lesp_streaming"], "-O1")
    assert run_program(program, *models).endswith("PASS update\n")


def read_blocks(language):
    text = (PROJECT / "README.md").read_text()
    return re.findall(rf"```{re.escape(language)}\n(.*?)```", text, re.DOTALL)


@needs_compiler
@pytest.mark.parametrize(
    ("status", "stop", "expected"),
    [
        (200, 10**6, "begin end 5000 0, 0 open\n"),
        (404, 10**6, "abort 0x105, 0 open\n"),
        (0, 10**6, "abort 0xffffffff, 0 open\n"),
        (200, 3000, "begin abort 0xffffffff, 0 open\n"),
    ],
)
def test_the_update_over_http_of_the_readme(tmp_path, status, stop, expected):
    """It ends an update only when all bytes have come."""
    (block,) = [text for text in read_blocks("c") if "esp_http_client" in text]
    (tmp_path / "update.c").write_text(block)
    (tmp_path / "file").write_bytes(bytes(5000))
    flags = ["-std=gnu17", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined", "-isystem", SOURCE / "fake"]
    sources = [tmp_path / "update.c", SOURCE / "src/http_server.c", f"-I{COMPONENTS / 'lesp_model_update/include'}"]
    subprocess.run(["cc", *flags, *sources, "-o", tmp_path / "program"], check=True)
    assert run_program(tmp_path / "program", tmp_path / "file", str(status), str(stop)) == expected


@needs_compiler
def test_the_cpp_of_the_readme_compiles(tmp_path):
    (block,) = [text for text in read_blocks("c++") if "model_update" in text]
    (tmp_path / "main.cpp").write_text(block)
    includes = [f"-I{COMPONENTS / name / 'include'}" for name in ("lesp_model_update", "lesp_streaming")]
    command = ["c++", "-std=c++20", "-Wall", "-Werror", "-fno-exceptions", "-fsyntax-only", "-isystem", SOURCE / "fake"]
    subprocess.run([*command, *includes, tmp_path / "main.cpp"], check=True)
