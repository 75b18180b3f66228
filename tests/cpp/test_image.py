"""The container of a model as the firmware reads it, against the constants that are compiled of the same bundle."""

from __future__ import annotations

import pytest

from lightning_esp.bundle import pack_image, read_bundle, write_bundle
from lightning_esp.config import Deployment, Detector
from tests.bundle import handmade
from tests.bundle.make_reference_model import export_reference
from tests.cpp.compile import compile_program, needs_compiler, run_program
from tests.support.containers import CASES
from tests.support.listening import listening_bundle

pytestmark = needs_compiler

SOURCES = [
    "image_units.cpp",
    "lesp_streaming/src/model_image.cpp",
    "lesp_streaming/src/model_image_reader.cpp",
    "lesp_streaming/src/golden.cpp",
]


def handmade_bundle(directory, name):
    deployment = Deployment(name=name, labels=("a", "b ü", "?"))
    return write_bundle({"esp32s3": CASES[name]()}, directory, deployment)


def stream_evaluation(directory):
    detector = Detector(threshold={"yes": 0.9, "no": 0.25}, average=30, minimum=5, refractory=70, activation="sigmoid")
    return listening_bundle(directory, labels=("yes", "no", "_silence_", "a", "b"), detector=detector)


def reference(directory):
    export_reference(directory)
    return read_bundle(directory)


def sensor(directory):
    result, frontend = handmade.sensor_stage()
    return write_bundle({"esp32s3": result}, directory, Deployment(frontend=frontend))


def on_a_p4(directory):
    return write_bundle({"esp32p4": handmade.three_stages("esp32p4")}, directory)


BUNDLES = {
    **{name: lambda directory, name=name: handmade_bundle(directory, name) for name in CASES},
    "stream_evaluation": stream_evaluation,
    "reference": reference,
    "sensor": sensor,
    "esp32p4": on_a_p4,
}


@pytest.mark.parametrize("name", BUNDLES)
def test_it_is_the_compiled_model(tmp_path, name):
    """Field by field; and no byte can be changed, and no allocation fail, unnoticed."""
    bundle = BUNDLES[name](tmp_path / name)
    (target,) = bundle.targets
    (tmp_path / "model.lesp").write_bytes(pack_image(bundle))
    include = f"-I{bundle.path / 'components/lesp_model' / target}"
    program = compile_program(tmp_path / "program", SOURCES, ["lesp_streaming"], "-O1", include)
    assert run_program(program, tmp_path / "model.lesp") == "PASS image\n"
