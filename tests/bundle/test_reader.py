from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lightning_esp import Streaming, convert, export
from lightning_esp.bundle import read_both, read_bundle, read_model, write_bundle
from lightning_esp.bundle.manifest import sha256
from lightning_esp.errors import BundleError
from tests.bundle import handmade


@pytest.fixture
def bundle(tmp_path):
    return write_bundle({"esp32s3": handmade.one_stage()}, tmp_path / "kws")


@pytest.mark.parametrize(
    "name",
    [
        "components/lesp_model/esp32s3/model_stage_0.espdl",
        "components/lesp_model/esp32s3/model_config.hpp",
        "components/lesp_model/esp32s3/golden/model_golden.bin",
        "report.json",
    ],
)
def test_a_changed_file_of_the_model_is_named(bundle, name):
    data = bytearray((bundle.path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle.path / name).write_bytes(bytes(data))
    with pytest.raises(BundleError, match=f"{name} was changed after the export"):
        read_bundle(bundle.path)


def test_a_missing_file_is_named(bundle):
    (bundle.path / "components/lesp_model/esp32s3/model_config.hpp").unlink()
    with pytest.raises(BundleError, match=r"model_config\.hpp is missing"):
        read_bundle(bundle.path)


def test_files_around_the_model_may_change(bundle):
    (bundle.path / "components/lesp_streaming/src/stage.cpp").write_text("mine")
    (bundle.path / "CMakeLists.txt").unlink()
    (bundle.path / "main/listen.cpp").unlink()
    (bundle.path / "main/listen.cpp").symlink_to("/etc/passwd")
    (bundle.path / "main/frames.hpp").write_bytes(
        (bundle.path / "main/frames.hpp").read_bytes().replace(b"\n", b"\r\n")
    )
    (bundle.path / "report.html").unlink()
    found = read_bundle(bundle.path)
    assert [str(edit) for edit in found.edits] == [
        "CMakeLists.txt (deleted)",
        "components/lesp_streaming/src/stage.cpp",
        "main/listen.cpp",
    ]
    assert read_model(found).stages == read_model(bundle).stages


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "main//x", "./x", "a\\b", "pipe", ""])
def test_a_manifest_may_name_files_in_the_bundle_only(bundle, name):
    (bundle.path.parent / "secret").write_text("secret")
    os.mkfifo(bundle.path / "pipe")
    manifest = json.loads((bundle.path / "manifest.json").read_text())
    manifest["files"][name] = sha256(b"secret")
    (bundle.path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"is no path inside the bundle|is not a file"):
        read_bundle(bundle.path)


@pytest.mark.parametrize("target", ["/dev/zero", "../../../../../elsewhere", "model_stage_0.espdl"])
def test_a_link_may_not_lead_out_of_the_bundle(bundle, target):
    path = bundle.path / "components/lesp_model/esp32s3/model_stage_0.espdl"
    path.rename(bundle.path.parent / "elsewhere")
    path.symlink_to(target)
    with pytest.raises(BundleError, match=r"model_stage_0\.espdl is (missing|a link to)"):
        read_bundle(bundle.path)


def test_what_was_read_of_an_older_export_does_not_mix_with_a_newer_one(bundle):
    write_bundle({"esp32s3": handmade.one_stage(seed=9)}, bundle.path)
    with pytest.raises(BundleError, match="read the bundle again"):
        read_model(bundle)
    newer, model = read_both(bundle.path)
    assert newer.manifest != bundle.manifest
    assert model == read_model(newer)


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
    with pytest.raises(BundleError, match="files is missing"):
        read_bundle(bundle.path)


FORMS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no targets": (lambda m: m.update(targets={}), "holds a model for no chip"),
    "no streaming": (lambda m: m.update(streaming=None), "streaming is None; it must be an object"),
    "metrics of nothing": (lambda m: m.update(metrics=None), "metrics is None; it must be an object"),
    "labels of a number": (lambda m: m.update(labels=3), "labels is 3; it must be a list"),
    "a window that is no key": (lambda m: m["streaming"].pop("window"), r"streaming\.window is missing"),
    "a layout of two axes": (
        lambda m: m["targets"]["esp32s3"]["stages"][0]["outputs"][0].update(layout=[0, 1]),
        r"tensor 'output' has the shape .* the layout \[0, 1\]",
    ),
    "names of other outputs": (
        lambda m: m["streaming"].update(names={"output_7": "logits"}),
        r"streaming\.names is \{'output_7': 'logits'\}, and streaming\.outputs is \['output'\]; the first must hold",
    ),
    "names that are numbers": (lambda m: m["streaming"].update(names={"output": 3}), r"streaming\.names\.output is 3; it must be"),
    "stages of numbers": (lambda m: m["targets"]["esp32s3"].update(stages=[1]), r"stages\[0\] is 1; it must be an object"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_a_manifest_of_another_form_is_refused(name: str, tmp_path: Path) -> None:
    change, message = FORMS[name]
    bundle = write_bundle({"esp32s3": handmade.one_stage()}, tmp_path / "b")
    manifest = json.loads((bundle.path / "manifest.json").read_text())
    change(manifest)
    (bundle.path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=message):
        read_both(bundle.path, "esp32s3")


def test_a_manifest_of_endless_depth_is_refused(tmp_path: Path) -> None:
    bundle = write_bundle({"esp32s3": handmade.one_stage()}, tmp_path / "b")
    (bundle.path / "manifest.json").write_text('{"schema":' + "[" * 200_000 + "]" * 200_000 + "}")
    with pytest.raises(BundleError, match="is not valid JSON"):
        read_bundle(bundle.path)


@pytest.mark.parametrize(
    ("layers", "streaming"),
    [
        pytest.param(
            [nn.Conv1d(4, 6, 3, padding=1), nn.Conv1d(6, 2, 3, padding=1)], Streaming(lookahead=2), id="ahead"
        ),
        pytest.param([nn.Conv1d(4, 6, 3, stride=2), nn.ConvTranspose1d(6, 2, 2, stride=2)], Streaming(), id="strided"),
    ],
)
def test_the_spec_of_a_network_comes_back_whole(layers: list[nn.Module], streaming: Streaming, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(*layers)
    export(network, [torch.randn(4, 41) for _ in range(3)], tmp_path / "bundle", streaming=streaming)
    assert read_both(tmp_path / "bundle")[1].spec == convert(network, torch.randn(1, 4, 41), streaming).spec
