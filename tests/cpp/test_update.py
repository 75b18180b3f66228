"""Updates of the model on flash and NVS in memory, through power cuts."""

from __future__ import annotations

from dataclasses import replace

from lightning_esp.bundle import pack_image, write_bundle
from lightning_esp.config import Deployment
from tests.bundle import handmade
from tests.cpp.compile import compile_program, needs_compiler, run_program
from tests.cpp.script import with_scripts, write_script

STREAMING = ["frame_buffer", "golden", "model_image", "pipeline", "quantization", "replay", "stage"]
SOURCES = [
    "update_units.cpp",
    "fake_flash.cpp",
    "fake_dl.cpp",
    "model_update/src/slots.cpp",
    "model_update/src/update.cpp",
    *(f"streaming/src/{name}.cpp" for name in STREAMING),
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


def off_by_one(golden):
    output = next(iter(golden.outputs))
    return replace(golden, outputs={**golden.outputs, output: golden.outputs[output] ^ 1})


@needs_compiler
def test_updates_come_through_power_cuts(tmp_path):
    result = handmade.one_stage()
    models = [
        pack(tmp_path, "older", scripted(handmade.one_stage(seed=9))),
        pack(tmp_path, "newer", scripted(handmade.one_stage())),
        pack(tmp_path, "wrong", scripted(result, off_by_one(result[1].golden))),
        pack(tmp_path, "foreign", handmade.one_stage("esp32p4")),
    ]
    assert max(path.stat().st_size for path in models) < 32 * 1024
    program = compile_program(tmp_path / "program", SOURCES, ["model_update", "streaming"], "-O1")
    assert run_program(program, *models).endswith("PASS update\n")
