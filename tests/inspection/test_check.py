"""`verify_bundle`: what was changed after the export is found, also where all hashes were computed anew."""

from __future__ import annotations

import json
import re
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightning_esp import Bundle, Deployment, read_bundle, verify_bundle, write_bundle
from lightning_esp.bundle.manifest import hash_files, sha256, to_json
from lightning_esp.errors import BundleError, EspdlError, ProofError
from lightning_esp.espdl.flatbuffer_schema import schema_class
from lightning_esp.espdl.seal import is_sealed, seal
from lightning_esp.quantization import Worker
from lightning_esp.verification.verify import prove_integers
from tests.models.built import Built

TARGET = "esp32s3"
HEADER = 16
FOUND = (BundleError, EspdlError, ProofError)


@pytest.fixture(scope="module", params=["explicit", "native"])
def original(
    request: pytest.FixtureRequest,
    build: Callable[..., Built],
    worker: Worker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Bundle:
    built = build("tutorial", caches=request.param)
    verification = prove_integers(built.quantized, built.recordings, worker)
    return write_bundle({TARGET: (built.quantized, verification)}, tmp_path_factory.mktemp("audit") / request.param)


@pytest.fixture
def copy(original: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original.path, tmp_path / "bundle"))


def rehash(bundle: Path, change: Callable[[dict[str, Any]], None] = lambda manifest: None) -> None:
    """Write manifest and header with what `change` does to the manifest, and with the sums of what lies there now."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    change(manifest)
    for target in manifest["targets"].values():
        for stage in target["stages"]:
            path = bundle / stage["file"]
            stage["sha256"] = sha256(path.read_bytes())
            header = path.parent / "model_config.hpp"
            entry = rf'(\.name = "{re.escape(path.name)}".*\.crc = )0x[0-9a-f]+'
            text, count = re.subn(entry, rf"\g<1>{zlib.crc32(path.read_bytes()):#010x}", header.read_text())
            assert count == 1
            header.write_text(text)
    manifest["files"] = hash_files({name: (bundle / name).read_bytes() for name in manifest["files"]})
    (bundle / "manifest.json").write_bytes(to_json(manifest))


def stage_files(bundle: Path) -> list[Path]:
    stages = json.loads((bundle / "manifest.json").read_text())["targets"][TARGET]["stages"]
    return [bundle / stage["file"] for stage in stages]


def entries(manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for stage in manifest["targets"][TARGET]["stages"]:
        for key in ("inputs", "outputs", "caches"):
            yield from stage[key]


def weights(data: bytes) -> dict[str, range]:
    """Where the bytes of every parameter with more than one axis stand in a file."""
    graph = schema_class("Model").GetRootAs(data[HEADER:], 0).Graph()
    found = {}
    for index in range(graph.InitializerLength()):
        table = graph.Initializer(index)
        size = int(np.prod(table.DimsAsNumpy()))
        if table.DimsLength() > 1 and size > 4:
            start = HEADER + table.RawData(0)._tab.Pos
            found[table.Name().decode()] = range(start, start + size)
    return found


def exponents(data: bytes) -> dict[str, int]:
    """Where the lowest byte of every tensor's exponent stands in a file."""
    flatbuffer = data[HEADER:]
    graph = schema_class("Model").GetRootAs(flatbuffer, 0).Graph()
    base = np.frombuffer(flatbuffer, np.uint8).__array_interface__["data"][0]
    tables = [graph.ValueInfo(index) for index in range(graph.ValueInfoLength())]
    tables += [graph.Input(index) for index in range(graph.InputLength())]
    tables += [graph.Output(index) for index in range(graph.OutputLength())]
    named = {f"{index} {table.Name().decode()}": table.ExponentsAsNumpy() for index, table in enumerate(tables)}
    return {name: HEADER + v.__array_interface__["data"][0] - base for name, v in named.items() if np.size(v)}


def bump(path: Path, at: int, by: int = 1) -> None:
    data = bytearray(path.read_bytes())
    data[at] = (data[at] + by) % 256
    path.write_bytes(bytes(data))


def test_a_bundle_as_it_was_written_holds(original: Bundle) -> None:
    (verification,) = verify_bundle(original.path).values()
    assert [proof.name for proof in verification.proofs] == [
        "boundaries agree",
        "tensors keep their bytes in ESP-DL's memory until they are read",
        "the header is what the manifest makes",
        "the files give the golden windows, value for value",
        "files hold their own digest",
    ]
    assert all(proof.passed and proof.figure == 0 for proof in verification.proofs)
    assert verification.golden.windows >= 200
    assert verification.notes == ()


def test_a_bundle_for_several_chips_holds(bundle: Bundle) -> None:
    assert list(verify_bundle(bundle)) == ["esp32p4", "esp32s3"]


def test_golden_windows_are_read_as_they_were_written(
    build: Callable[..., Built], worker: Worker, tmp_path: Path
) -> None:
    built = build("two_inputs", caches="explicit")
    expected = prove_integers(built.quantized, built.recordings, worker)
    bundle = write_bundle({TARGET: (built.quantized, expected)}, tmp_path / "bundle")
    found = verify_bundle(bundle)[TARGET].golden
    assert found.resets == expected.golden.resets
    for ours, theirs in (
        (found.inputs, expected.golden.inputs),
        (found.outputs, expected.golden.outputs),
        (found.caches, expected.golden.caches),
    ):
        assert set(ours) == set(theirs)
        for name, values in theirs.items():
            assert ours[name].dtype == values.dtype
            np.testing.assert_array_equal(ours[name], values)


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_one_changed_weight_is_found(copy: Path, stage: int) -> None:
    path = stage_files(copy)[stage]
    whole = path.read_bytes()
    spans = weights(whole)
    messages = []
    for span in spans.values():
        for at in (span[0], span[len(span) // 3], span[-1]):
            bump(path, at)
            rehash(copy)
            read_bundle(copy)
            with pytest.raises(ProofError) as error:
                verify_bundle(copy)
            messages.append(str(error.value))
            path.write_bytes(whole)
    # One step of one weight behind a ReLU or in the bottleneck of a gate may be too small for any output to show it.
    shown = [re.search(r"golden windows, value for value: \d+, .*tensor '\S+' from window \d", m) for m in messages]
    hidden = [message for message in messages if message.startswith("files hold their own digest: 1, ")]
    assert sum(match is not None for match in shown) + len(hidden) == len(messages)
    assert len(messages) == 3 * len(spans) > len(hidden)
    rehash(copy)
    assert verify_bundle(copy)


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_a_changed_weight_under_a_new_digest_is_found_by_the_golden_windows(copy: Path, stage: int) -> None:
    path = stage_files(copy)[stage]
    # The first convolution of a stage, which every output depends on; the highest bit but one of a weight.
    span = next(
        span for name, span in weights(path.read_bytes()).items() if re.search(r"prev_conv|layers\.0|::Conv", name)
    )
    bump(path, span[len(span) // 2], 64)
    path.write_bytes(seal(path.read_bytes()))
    rehash(copy)
    with pytest.raises(ProofError, match=r"golden windows, .*tensor '\S+' from window \d"):
        verify_bundle(copy)


@pytest.mark.parametrize("stage", [0, 1, 2])
@pytest.mark.parametrize("by", [1, -1])
def test_one_changed_exponent_of_a_file_is_found(copy: Path, stage: int, by: int) -> None:
    path = stage_files(copy)[stage]
    whole = path.read_bytes()
    positions = exponents(whole)
    assert len(positions) > 5
    for at in positions.values():
        bump(path, at, by)
        rehash(copy)
        read_bundle(copy)
        with pytest.raises(FOUND):
            verify_bundle(copy)
        path.write_bytes(whole)


@pytest.mark.parametrize("key", ["layout", "exponent", "shape", "dtype", "name", "time_axis"])
def test_one_changed_entry_of_the_manifest_is_found(copy: Path, key: str) -> None:
    changes = {
        "layout": lambda old: [0, 1, 2] if old == [0, 2, 1] else [0, 2, 1],
        "exponent": lambda old: old + 1,
        "shape": lambda old: [1, old[2], old[1]],
        "dtype": lambda old: "int16",
        "name": lambda old: f"{old}_",
        "time_axis": lambda old: 2 if old == 1 else 1,
    }
    manifest = json.loads((copy / "manifest.json").read_text())
    total = len(list(entries(manifest)))
    for position in range(total):
        if key == "time_axis" and list(entries(manifest))[position][key] is None:
            continue

        def change(values: dict[str, Any], position: int = position) -> None:
            entry = list(entries(values))[position]
            entry[key] = changes[key](entry[key])

        rehash(copy, change)
        read_bundle(copy)
        with pytest.raises(FOUND):
            verify_bundle(copy)
        (copy / "manifest.json").write_bytes(to_json(manifest))
    assert total >= 8


@pytest.mark.parametrize("layout", [[0, 1], [0, 2, 2], [0, 1, 3], "NWC"])
def test_a_layout_that_is_none_is_found(copy: Path, layout: object) -> None:
    rehash(copy, lambda manifest: next(entries(manifest)).update(layout=layout))
    with pytest.raises((BundleError, ProofError)):
        verify_bundle(copy)


def test_a_model_of_another_chip_is_found(copy: Path) -> None:
    def move(manifest: dict[str, Any]) -> None:
        manifest["targets"]["esp32c3"] = manifest["targets"].pop(TARGET)

    rehash(copy, move)
    with pytest.raises(ProofError, match="was written for 'esp32s3', not for 'esp32c3'"):
        verify_bundle(copy)


def test_an_operator_that_the_firmware_would_lack_is_found(copy: Path) -> None:
    rehash(copy, lambda manifest: manifest["targets"][TARGET]["stages"][0]["operators"].remove("Conv"))
    with pytest.raises(ProofError, match=r"has the operators .*'Conv'"):
        verify_bundle(copy)


def test_changed_golden_windows_are_found(copy: Path) -> None:
    (path,) = copy.glob("components/lesp_model/*/golden/*.bin")
    whole = path.read_bytes()
    bump(path, len(whole) - 5)
    rehash(copy)
    with pytest.raises(ProofError, match="golden windows, value for value: 1, "):
        verify_bundle(copy)
    for damaged, message in ((whole[:-1], "bytes a window"), (b"LEG9" + whole[4:], "begins with b'LEG9'")):
        path.write_bytes(damaged)
        rehash(copy)
        with pytest.raises((BundleError, ProofError), match=f"{message}|the header is what"):
            verify_bundle(copy)


def test_a_changed_header_is_found(copy: Path) -> None:
    path = copy / f"components/lesp_model/{TARGET}/model_config.hpp"
    path.write_text(path.read_text().replace("kHalfUp", "kHalfToEven"))
    rehash(copy)
    with pytest.raises(ProofError, match=r"header .* makes: 1, .*_config\.hpp, line \d+"):
        verify_bundle(copy)


def test_a_changed_file_is_found_by_its_hash(copy: Path) -> None:
    bump(stage_files(copy)[0], 300)
    with pytest.raises(BundleError, match="was changed after the export"):
        verify_bundle(copy)


def test_without_golden_windows_a_note_says_so(build: Callable[..., Built], worker: Worker, tmp_path: Path) -> None:
    built = build("tutorial")
    verification = prove_integers(built.quantized, built.recordings, worker)
    bundle = write_bundle({TARGET: (built.quantized, verification)}, tmp_path / "bundle", Deployment(golden=False))
    found = verify_bundle(bundle)[TARGET]
    assert len(found.proofs) == 4
    assert "nothing was replayed" in found.notes[0]


def test_a_seal_holds_until_any_byte_changes(original: Bundle) -> None:
    data = stage_files(original.path)[0].read_bytes()
    assert is_sealed(data)
    assert seal(data) == data
    random = np.random.default_rng(0)
    for at in (4, *random.integers(HEADER, len(data), 40)):
        changed = bytearray(data)
        changed[at] ^= 1
        try:
            assert not is_sealed(bytes(changed))
        except EspdlError:
            continue


# Files around the model, and files that nobody lists.


def test_edited_files_around_the_model_are_named_and_the_model_is_judged(copy: Path) -> None:
    (copy / "main/app_main.cpp").write_text("mine")
    (copy / "main/my_led.cpp").write_text("mine")
    (copy / "partitions.csv").unlink()
    (verification,) = verify_bundle(copy).values()
    assert verification.notes == (
        "edited since the export, and not judged: main/app_main.cpp, partitions.csv (deleted)",
    )
    bump(stage_files(copy)[0], 300)
    with pytest.raises(BundleError, match="was changed after the export"):
        verify_bundle(copy)


@pytest.mark.parametrize("left_out", ["report.json", "model_config.hpp", ".espdl", "main/app_main.cpp"])
def test_a_file_without_a_hash_is_found(copy: Path, left_out: str) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["files"] = {name: value for name, value in manifest["files"].items() if not name.endswith(left_out)}
    (copy / "manifest.json").write_bytes(to_json(manifest))
    with pytest.raises(BundleError, match=f"holds no SHA-256 of .*{left_out}"):
        verify_bundle(copy)


@pytest.mark.parametrize("name", ["another.espdl", "golden/another.bin"])
def test_a_file_that_the_firmware_would_embed_is_found(copy: Path, name: str) -> None:
    (copy / f"components/lesp_model/{TARGET}/notes.txt").write_text("mine")
    verify_bundle(copy)
    (copy / f"components/lesp_model/{TARGET}" / name).write_bytes(b"x")
    with pytest.raises(BundleError, match=f"{name} is of no export, and the firmware would embed it"):
        verify_bundle(copy)


def test_a_changed_figure_is_found_by_the_page(copy: Path) -> None:
    changes: list[Callable[[dict[str, Any]], None]] = [
        lambda manifest: manifest["metrics"]["float"].update(acc=0.99),
        lambda manifest: manifest["proofs"][0].update(passed=False),
        lambda manifest: manifest["targets"][TARGET]["estimate"].update(flash=1),
        lambda manifest: manifest.update(metrics=None),
    ]
    whole = (copy / "manifest.json").read_bytes()
    for change in changes:
        rehash(copy, change)
        with pytest.raises(
            BundleError,
            match=r"report\.html is not|not those in report|metrics is None",
        ):
            verify_bundle(copy)
        (copy / "manifest.json").write_bytes(whole)
    (copy / "report.html").unlink()
    assert verify_bundle(copy)
