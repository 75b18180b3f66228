from __future__ import annotations

import json
import re
import struct
import zlib
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from lightning_esp.bundle import pack_image, read_bundle, read_model, write_bundle
from lightning_esp.bundle.writer import _is_shared, read_project
from lightning_esp.config import Deployment
from lightning_esp.conversion.spec import WindowChoice, WindowOption
from lightning_esp.errors import BundleError, ConfigurationError, ProofError
from lightning_esp.verification.proof import Proof
from tests.bundle import handmade

PROJECT = Path(__file__).parents[2] / "idf_project"
CASES = [
    handmade.one_stage,
    handmade.three_stages,
    handmade.int16_stage,
    handmade.image_stage,
    handmade.mixed_stage,
    handmade.paced_stage,
]


@pytest.mark.parametrize("case", CASES)
def test_a_bundle_reads_back_as_it_was_written(tmp_path, case):
    quantized, verification = case()
    written = write_bundle({"esp32s3": (quantized, verification)}, tmp_path / "kws", Deployment(labels=("a", "b")))
    found = read_bundle(tmp_path / "kws")
    assert found == written
    model = read_model(found)
    assert model.stages == quantized.stages
    assert model.spec == quantized.spec
    assert model.precision == quantized.precision
    assert found.labels == ("a", "b")


def test_the_choice_of_a_window_is_in_manifest_and_page(tmp_path):
    quantized, verification = handmade.one_stage()
    choice = WindowChoice(0.05, "esp32s3", (WindowOption(3, 0.0307, 238.4), WindowOption(4, 0.041, None)))
    quantized = replace(quantized, spec=replace(quantized.spec, choice=choice))
    bundle = write_bundle({"esp32s3": (quantized, verification)}, tmp_path / "kws")
    assert bundle.manifest["streaming"]["choice"]["options"][0] == {"window": 3, "latency": 0.0307, "frame_us": 238.4}
    assert read_model(bundle).spec == quantized.spec
    page = (tmp_path / "kws/report.html").read_text()
    assert (
        "chosen for a latency of 50 ms, by the costs of an esp32s3, among 3 (30.7 ms, about 238 us a frame), 4" in page
    )


def test_operators_that_esp_dl_must_have_are_named(tmp_path):
    quantized, verification = handmade.three_stages()
    found = (("Conv", "Add"), ("Add",), ("Gemm",))
    stages = tuple(replace(stage, operators=names) for stage, names in zip(quantized.stages, found, strict=True))
    write_bundle({"esp32s3": (replace(quantized, stages=stages), verification)}, tmp_path / "kws")
    header = (tmp_path / "kws/components/lesp_model/esp32s3/model_config.hpp").read_text()
    assert 'kOperators[] = {"Add", "Conv", "Gemm"};\n' in header


def test_a_bundle_is_the_project_with_generated_models(tmp_path):
    write_bundle({"esp32s3": handmade.one_stage()}, tmp_path / "kws")
    found = handmade.read_files(tmp_path / "kws")
    generated = {
        "components/lesp_model/esp32s3/bundled_model.hpp",
        "components/lesp_model/esp32s3/golden/model_golden.bin",
        "components/lesp_model/esp32s3/model.hpp",
        "components/lesp_model/esp32s3/model_config.hpp",
        "components/lesp_model/esp32s3/model_stage_0.espdl",
        "manifest.json",
        "partitions.csv",
        "partitions_model.csv",
        "partitions_ota.csv",
        "partitions_update.csv",
        "report.json",
        "report.html",
    }
    shared = {
        name: data
        for name, data in handmade.read_files(PROJECT).items()
        if not name.startswith("components/lesp_model/esp32")
    }
    for name in ("partitions.csv", "partitions_model.csv", "partitions_ota.csv", "partitions_update.csv"):
        shared.pop(name)
    assert set(found) == set(shared) | generated
    assert all(found[name] == data for name, data in shared.items())


def test_a_bundle_says_under_which_licence_its_sources_are():
    """Its C++ goes into products, and files are copied out of it one by one."""
    files = read_project()
    sources = [
        name
        for name in files
        if name.endswith((".cpp", ".hpp", ".c", ".h", ".py", ".cmake", "CMakeLists.txt", "/iostream"))
    ]
    assert len(sources) > 100
    for name in sources:
        first, second, *_ = files[name].decode().splitlines()
        assert first.endswith(" SPDX-FileCopyrightText: The lightning_esp maintainers"), name
        assert second.endswith(" SPDX-License-Identifier: Apache-2.0"), name
    assert files["LICENSE"] == (PROJECT.parent / "LICENSE").read_bytes()


def test_what_a_build_leaves_in_the_project_is_in_no_bundle():
    left = (
        "dependencies.lock.esp32s3",
        "dependencies.lock",
        "build/a",
        "examples/esphome/.esphome/b",
        ".pio/build/b",
        "main/managed_components/b",
        "sdkconfig",
    )
    assert [name for name in (*left, "sdkconfig.ota") if _is_shared(Path(name))] == ["sdkconfig.ota"]


def test_each_target_has_a_folder(tmp_path):
    results = {target: handmade.three_stages(target) for target in ("esp32s3", "esp32p4", "esp32c3")}
    bundle = write_bundle(results, tmp_path / "kws")
    assert set(bundle.targets) == set(results)
    headers = {t: (tmp_path / f"kws/components/lesp_model/{t}/model_config.hpp").read_text() for t in results}
    assert "Rounding::kHalfToEven" in headers["esp32p4"]
    assert "Rounding::kHalfUp" in headers["esp32s3"]
    assert "Rounding::kHalfUp" in headers["esp32c3"]
    assert read_model(bundle, "esp32p4").target == "esp32p4"
    with pytest.raises(BundleError, match="no model for target='esp32c6'"):
        read_model(bundle, "esp32c6")


def test_the_manifest_describes_every_tensor(tmp_path):
    bundle = write_bundle({"esp32s3": handmade.three_stages()}, tmp_path / "kws", Deployment(labels=("yes", "no")))
    manifest = json.loads((tmp_path / "kws/manifest.json").read_text())
    assert manifest == bundle.manifest
    assert manifest["streaming"]["window"] == 3
    assert manifest["streaming"]["stages"] == 3
    assert manifest["streaming"]["inputs"] == [{"name": "x", "kind": "stream"}, {"name": "speaker", "kind": "held"}]
    head = manifest["targets"]["esp32s3"]["stages"][2]
    assert [values["name"] for values in head["inputs"]] == ["middle", "x", "encoder_1"]
    assert head["caches"] == [
        {
            "name": "head.past",
            "shape": [1, 2, 8],
            "dtype": "int8",
            "exponent": -5,
            "layout": [0, 2, 1],
            "time_axis": 1,
            "bytes": 16,
            "form": "explicit",
            "next": "head.past.next",
            "initial": -7,
        }
    ]
    assert manifest["metrics"]["quantized"]["esp32s3"] == {"val_accuracy": 0.931640625}
    assert manifest["proofs"][1]["figure"] == "inf"
    assert set(manifest["files"]) == set(handmade.read_files(tmp_path / "kws")) - {"manifest.json"}


def test_the_manifest_lists_native_caches_beside_the_others(tmp_path):
    bundle = write_bundle({"esp32s3": handmade.mixed_stage()}, tmp_path / "kws")
    native, explicit = bundle.manifest["targets"]["esp32s3"]["stages"][0]["caches"]
    assert native == {
        "name": "conv.past",
        "form": "native",
        "shape": [1, 6, 4],
        "dtype": "int8",
        "exponent": -4,
        "layout": [0, 2, 1],
        "time_axis": None,
        "bytes": 24,
    }
    assert (explicit["name"], explicit["form"], explicit["bytes"]) == ("rnn.h", "explicit", 4)
    assert bundle.report["targets"]["esp32s3"]["bytes"]["caches"] == 28
    # The firmware feeds back the explicit one only.
    header = (bundle.path / "components/lesp_model/esp32s3/model_config.hpp").read_text()
    assert "rnn.h" in header
    assert "conv.past" not in header


def test_the_same_input_gives_the_same_bytes(tmp_path):
    results = {target: handmade.three_stages(target) for target in ("esp32s3", "esp32p4")}
    write_bundle(results, tmp_path / "first")
    write_bundle(dict(reversed(list(results.items()))), tmp_path / "elsewhere" / "second")
    first, second = handmade.read_files(tmp_path / "first"), handmade.read_files(tmp_path / "elsewhere" / "second")
    assert first == second
    assert not any(str(tmp_path).encode() in data for data in first.values())


def test_golden_windows_hold_the_integers(tmp_path):
    quantized, verification = handmade.three_stages()
    write_bundle({"esp32s3": (quantized, verification)}, tmp_path / "kws")
    data = (tmp_path / "kws/components/lesp_model/esp32s3/golden/model_golden.bin").read_bytes()
    magic, windows, size = struct.unpack_from("<4sII", data)
    golden = verification.golden
    assert (magic, windows) == (b"LEG1", 20)
    assert len(data) == 12 + windows * size
    record = data[12 + 7 * size : 12 + 8 * size]
    assert struct.unpack_from("<I", record) == (1,)
    assert record[4:16] == golden.inputs["x"][7].tobytes()
    assert record[16:22] == golden.inputs["speaker"][7].tobytes()
    stage = 4 + 12 + 8
    assert record[stage : stage + 24] == golden.outputs["encoder"][7].tobytes()
    crcs = struct.unpack_from("<II", record, stage + 24 + 8)
    assert crcs == tuple(zlib.crc32(golden.caches[name][7].tobytes()) for name in ("encoder.a", "encoder.b"))


def test_golden_windows_can_be_left_out(tmp_path):
    write_bundle({"esp32s3": handmade.one_stage()}, tmp_path / "kws", Deployment(golden=False))
    assert not (tmp_path / "kws/components/lesp_model/esp32s3/golden").exists()
    assert "kGolden = {};" in (tmp_path / "kws/components/lesp_model/esp32s3/model_config.hpp").read_text()


@pytest.mark.parametrize("name", ["Kws", "2nd", "a-b", "", "_kws"])
def test_a_name_must_fit_into_names(name):
    with pytest.raises(ConfigurationError, match=re.escape(f"name={name!r}")):
        Deployment(name=name)


def test_extra_files_are_hashed_like_the_rest(tmp_path):
    results = {"esp32s3": handmade.one_stage()}
    bundle = write_bundle(results, tmp_path / "kws", extra_files={"notes/model.html": b"<p>"})
    assert (tmp_path / "kws/notes/model.html").read_bytes() == b"<p>"
    assert "notes/model.html" in bundle.manifest["files"]


def test_partitions_grow_with_the_model(tmp_path):
    quantized, verification = handmade.one_stage()
    big = replace(quantized, stages=(replace(quantized.stages[0], data=b"EDL2" + bytes(3 << 20)),))
    write_bundle({"esp32s3": (quantized, verification)}, tmp_path / "small")
    write_bundle({"esp32s3": (big, verification)}, tmp_path / "big")
    sizes = [int((tmp_path / name / "partitions.csv").read_text().split(",")[-1], 16) for name in ("small", "big")]
    assert sizes[1] - sizes[0] in range(3 << 20, (3 << 20) + 0x10001)
    assert all(size % 0x10000 == 0 for size in sizes)


@pytest.mark.parametrize(
    ("table", "apps"), [("partitions_update.csv", ["factory"]), ("partitions_ota.csv", ["ota_0", "ota_1"])]
)
def test_two_slots_hold_the_container_of_the_largest_chip(tmp_path, table, apps):
    """Nothing overlaps, apps begin where the bootloader asks it, and there is room for a model that is a tenth larger."""
    quantized, verification = handmade.three_stages()
    head = replace(quantized.stages[2], data=b"EDL2" + bytes(700000))
    wide = replace(quantized, stages=(*quantized.stages[:2], head), target="esp32p4")
    bundle = write_bundle({"esp32s3": (quantized, verification), "esp32p4": (wide, verification)}, tmp_path / "kws")
    rows = [
        [cell.strip() for cell in line.split(",")]
        for line in (bundle.path / table).read_text().splitlines()
        if not line.startswith("#")
    ]
    placed = [(row[0], int(row[3], 16), int(row[4], 16)) for row in rows if row[3]]
    assert [name for name, *_ in placed if name in apps] == apps
    assert all(start + size == following for (_, start, size), (_, following, _) in pairwise(placed))
    assert all(start % 0x10000 == 0 for name, start, _ in placed if name in apps)
    assert [row[:4] for row in rows[-2:]] == [[name, "data", "undefined", ""] for name in ("model_a", "model_b")]
    (size,) = {int(row[4], 16) for row in rows[-2:]}
    assert size % 0x10000 == 0
    assert size > 1.1 * len(pack_image(bundle, "esp32p4"))


def test_files_of_the_model_have_partitions_of_their_own(tmp_path):
    """The largest chip's file fits, and name, size, checksum and label are those of the header."""
    quantized, verification = handmade.three_stages()
    head = replace(quantized.stages[2], data=b"EDL2" + bytes(70000))
    wide = replace(quantized, stages=(*quantized.stages[:2], head), target="esp32p4")
    results = {"esp32s3": (quantized, verification), "esp32p4": (wide, verification)}
    bundle = write_bundle(results, tmp_path / "kws", Deployment(name="listening_model"))
    nvs, phy_init, app, *rows = [
        [cell.strip() for cell in line.split(",")]
        for line in (bundle.path / "partitions_model.csv").read_text().splitlines()
        if not line.startswith("#")
    ]
    sizes = [max(len(a.data), len(b.data)) for a, b in zip(quantized.stages, wide.stages, strict=True)]
    assert (nvs, phy_init) == (
        ["nvs", "data", "nvs", "0x009000", "0x006000"],
        ["phy_init", "data", "phy", "0x00f000", "0x001000"],
    )
    assert app[:4] == ["factory", "app", "factory", "0x010000"]
    assert [row[:4] for row in rows] == [[f"listening_mo_{i}", "data", "undefined", ""] for i in range(3)]
    assert [int(row[4], 16) for row in rows] == [-(-size // 4096) * 4096 for size in sizes]
    whole = int((bundle.path / "partitions.csv").read_text().split(",")[-1], 16)
    assert whole - int(app[4], 16) in range(60000, 0x20000)
    for target, model in (("esp32s3", quantized), ("esp32p4", wide)):
        folder = bundle.path / "components/lesp_model" / target
        entries = re.findall(
            r'\{\.name = "(\S+)", \.partition = "(\S+)", \.bytes = (\d+), \.crc = (0x[0-9a-f]{8})\}',
            (folder / "model_config.hpp").read_text(),
        )
        assert [label for _, label, _, _ in entries] == [row[0] for row in rows]
        for (name, _, size, crc), stage in zip(entries, model.stages, strict=True):
            data = (folder / name).read_bytes()
            assert (data, len(data), zlib.crc32(data)) == (stage.data, int(size), int(crc, 16))


# What cannot be a bundle.


def test_a_failed_proof_is_never_written(tmp_path):
    quantized, verification = handmade.one_stage()
    failed = replace(verification, proofs=(Proof("parity", 3.0, 0.0, False, "stage_0", "Use a longer window."),))
    with pytest.raises(ProofError, match=r"'parity' measured 3\.0 .* stage_0.* Use a longer window\."):
        write_bundle({"esp32s3": (quantized, failed)}, tmp_path / "kws")
    assert not (tmp_path / "kws").exists()


@pytest.mark.parametrize(
    ("field", "value"), [("exponent", -9), ("shape", (1, 8, 3)), ("layout", handmade.NCW), ("dtype", "int16")]
)
def test_stages_that_do_not_fit_together_are_refused(tmp_path, field, value):
    quantized, verification = handmade.three_stages()
    middle = quantized.stages[1]
    changed = replace(middle, inputs=(replace(middle.inputs[0], **{field: value}), *middle.inputs[1:]))
    model = replace(quantized, stages=(quantized.stages[0], changed, quantized.stages[2]))
    with pytest.raises(BundleError, match=r"stage '0\.middle' reads 'encoder' as"):
        write_bundle({"esp32s3": (model, verification)}, tmp_path / "kws")


def test_golden_windows_of_another_form_are_refused(tmp_path):
    quantized, verification = handmade.one_stage()
    wrong = {"x": verification.golden.inputs["x"].astype(np.int16)}
    golden = replace(verification.golden, inputs=wrong)
    with pytest.raises(BundleError, match=r"'x' are int16\[3, 4\] .* has int8\[3, 4\]"):
        write_bundle({"esp32s3": (quantized, replace(verification, golden=golden))}, tmp_path / "kws")


def test_results_of_different_models_are_refused(tmp_path):
    results = {"esp32s3": handmade.one_stage(), "esp32p4": handmade.three_stages("esp32p4")}
    with pytest.raises(BundleError, match="different float models"):
        write_bundle(results, tmp_path / "kws")
    with pytest.raises(BundleError, match="holds a model for 'esp32s3'"):
        write_bundle({"esp32p4": handmade.one_stage()}, tmp_path / "kws")
    with pytest.raises(BundleError, match="no results"):
        write_bundle({}, tmp_path / "kws")
