"""The container of a model: everything in it comes back, and whatever was changed is refused."""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import replace
from itertools import product

import pytest

from lightning_esp.bundle import pack_image, read_bundle, read_image, read_model, write_bundle
from lightning_esp.bundle.image import FIRST_FILE, HEADER_BYTES
from lightning_esp.bundle.tensors import input_tensors, output_tensors
from lightning_esp.config import Deployment, Detector
from lightning_esp.detection.detector import DetectorSettings
from lightning_esp.errors import BundleError
from tests.bundle import handmade
from tests.support.containers import CASES
from tests.support.listening import listening_bundle


def write(directory, name, **options):
    return write_bundle({"esp32s3": CASES[name]()}, directory / name, Deployment(name=name, **options))


def reseal(data: bytes) -> bytes:
    """Give a changed container a right CRC32."""
    return data[:12] + struct.pack("<I", zlib.crc32(data[HEADER_BYTES:])) + data[HEADER_BYTES:]


@pytest.mark.parametrize("name", CASES)
def test_the_model_comes_back(tmp_path, name):
    bundle = write(tmp_path, name, labels=("ja", "nö", "_x_"))
    model, image = read_model(bundle), read_image(pack_image(bundle))
    assert (image.name, image.target, image.labels) == (name, "esp32s3", ("ja", "nö", "_x_"))
    spec = model.spec
    assert (image.window, image.stride, image.delay) == (spec.window, spec.stride, spec.delay)
    assert spec.frame_period is not None
    assert image.frame_period_us == round(spec.frame_period * 1e6)
    assert image.inputs == input_tensors(model)
    assert image.outputs == output_tensors(model)
    assert image.stages == tuple(replace(stage, native_caches=()) for stage in model.stages)
    header = (bundle.path / "components/lesp_model/esp32s3/model_config.hpp").read_text()
    for file, partition, size, crc in image.files:
        assert f'.name = "{file}", .partition = "{partition}", .bytes = {size}, .crc = {crc:#010x}' in header
    assert f"kEstimatedRam = {image.estimated[0]};" in header


def test_what_listens_comes_back(tmp_path):
    detector = Detector(threshold={"yes": 0.5, "no": 0.25}, average=3, minimum=2, refractory=7, retrigger=True)
    bundle = listening_bundle(tmp_path / "kws", labels=("yes", "no", "_silence_", "a", "b"), detector=detector)
    image = read_image(pack_image(bundle))
    expected = bundle.manifest["frontend"]
    found = image.front_end
    assert found is not None
    assert image.detector is not None
    assert set(found["config"]) == set(expected["config"])
    for key, value in {**expected["config"], "arithmetic": "float"}.items():
        assert found["config"][key] == (pytest.approx(value, rel=1e-6) if isinstance(value, float) else value)
    assert found["mean"] == pytest.approx(expected["mean"], rel=1e-6)
    assert found["scale"] == pytest.approx(expected["scale"], rel=1e-6)
    assert [found[key] for key in ("kind", "bands", "hop_samples")] == ["Fbank", 4, 160]
    assert image.detector.thresholds == (0.5, 0.25, math.inf, math.inf, math.inf)
    assert replace(image.detector, thresholds=()) == DetectorSettings((), 3, 2, 7, "softmax", True)


@pytest.mark.parametrize(("target", "half_even"), [("esp32s3", False), ("esp32p4", True)])
def test_one_chip_of_several(tmp_path, target, half_even):
    results = {chip: handmade.one_stage(chip) for chip in ("esp32s3", "esp32p4")}
    bundle = write_bundle(results, tmp_path / "kws")
    image = read_image(pack_image(bundle, target))
    assert (image.target, image.half_even) == (target, half_even)
    assert pack_image(bundle, target) == pack_image(read_bundle(bundle.path), target)
    with pytest.raises(BundleError, match=r"no model for target='esp32c3'"):
        pack_image(bundle, "esp32c3")


@pytest.mark.parametrize(("name", "windows", "kept"), [("kws", 5, 5), ("rnn", 5, 5), ("vad", 100, 20)])
def test_the_first_golden_windows_go_along(tmp_path, name, windows, kept):
    bundle = write(tmp_path, name)
    whole = (bundle.path / f"components/lesp_model/esp32s3/golden/{name}_golden.bin").read_bytes()
    golden = read_image(pack_image(bundle, windows=windows)).golden
    count, record = struct.unpack_from("<II", whole, 4)
    assert struct.unpack_from("<II", golden, 4) == (kept, record)
    assert golden[:4] + golden[12:] == (whole[:4] + whole[12:])[: len(golden) - 8]
    assert len(whole) - len(golden) == (count - kept) * record


def test_a_bundle_without_golden_windows_cannot_be_tested_on_the_chip(tmp_path):
    with pytest.raises(BundleError, match=r"no golden windows.*Deployment\(golden=True\)"):
        pack_image(write(tmp_path, "kws", golden=False))
    with pytest.raises(BundleError, match=r"windows=0"):
        pack_image(write(tmp_path, "vad"), windows=0)


def test_files_lie_at_multiples_of_16_and_bytes_behind_the_end_do_not_matter(tmp_path):
    data = pack_image(write(tmp_path, "vad"))
    entries = {kind: offset for kind, offset, _ in struct.iter_unpack("<3I", data[20 : 20 + 5 * 12])}
    assert set(entries) == {1, 2, FIRST_FILE, FIRST_FILE + 1, FIRST_FILE + 2}
    assert [offset % 16 for offset in entries.values()] == [0] * 5
    assert read_image(data + b"\xff" * 100) == read_image(data)


def test_what_was_changed_is_refused(tmp_path):
    data = pack_image(write(tmp_path, "vad"))
    for wrong in (b"", data[:19], b"EDL2" + data[4:]):
        with pytest.raises(BundleError, match="no container of a model"):
            read_image(wrong)
    with pytest.raises(BundleError, match=r"form 2, this version reads 1"):
        read_image(data[:4] + struct.pack("<I", 2) + data[8:])
    for wrong in (data[:-1], data[:-1] + bytes([data[-1] ^ 1]), data[:200] + b"\x55" + data[201:]):
        with pytest.raises(BundleError, match="cut off or was changed"):
            read_image(wrong)


def test_no_value_of_a_field_breaks_the_reader(tmp_path):
    """With a CRC32 that is right; whatever is not refused is a model."""
    data = pack_image(write(tmp_path, "vad", labels=("a",)))
    refused = 0
    for position, value in product(range(16, 1200, 4), (b"\xff" * 4, b"\x00\x00\x00\x40")):
        try:
            read_image(reseal(data[:position] + value + data[position + 4 :]))
        except BundleError:
            refused += 1
    assert refused > 100
