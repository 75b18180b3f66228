from __future__ import annotations

import json

import pytest

from lightning_esp.bundle import read_bundle, write_bundle
from lightning_esp.errors import BundleError
from tests.bundle import handmade


@pytest.fixture
def bundle(tmp_path):
    return write_bundle({"esp32s3": handmade.one_stage()}, tmp_path / "kws")


@pytest.mark.parametrize(
    "name",
    [
        "components/model/esp32s3/model_stage_0.espdl",
        "components/streaming/src/stage.cpp",
        "report.json",
        "CMakeLists.txt",
    ],
)
def test_a_changed_file_is_named(bundle, name):
    data = bytearray((bundle.path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle.path / name).write_bytes(bytes(data))
    with pytest.raises(BundleError, match=f"{name} was changed after the export"):
        read_bundle(bundle.path)


def test_a_missing_file_is_named(bundle):
    (bundle.path / "components/model/esp32s3/model_config.hpp").unlink()
    with pytest.raises(BundleError, match=r"model_config\.hpp is missing"):
        read_bundle(bundle.path)


def test_what_a_build_adds_does_not_matter(bundle):
    (bundle.path / "build").mkdir()
    (bundle.path / "build/app.bin").write_bytes(b"x")
    (bundle.path / "sdkconfig").write_text("CONFIG_X=y")
    assert read_bundle(bundle.path) == bundle


def test_a_directory_without_manifest_is_no_bundle(tmp_path):
    with pytest.raises(BundleError, match=r"manifest\.json cannot be read"):
        read_bundle(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "is not valid JSON"), ("[]", "holds no JSON object"), ('{"schema": "lightning_esp.bundle/9"}', "schema")],
)
def test_a_foreign_manifest_is_refused(bundle, text, message):
    (bundle.path / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match=message):
        read_bundle(bundle.path)


def test_a_manifest_without_a_part_is_refused(bundle):
    manifest = json.loads((bundle.path / "manifest.json").read_text())
    del manifest["files"]
    (bundle.path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="lacks files"):
        read_bundle(bundle.path)
