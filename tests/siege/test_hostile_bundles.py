"""Bundles that were made to do harm: nothing outside is read, removed or written, and nothing waits for ever."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType

import pytest
import torch
from cryptography.hazmat.primitives.asymmetric import ed25519

from lightning_esp import Bundle, read_bundle, simulate, verify_bundle
from lightning_esp.bundle import read_both, write_bundle
from lightning_esp.bundle.bundle import COMPONENT
from lightning_esp.bundle.manifest import sha256
from lightning_esp.bundle.signature import check_signature, sign_bundle
from lightning_esp.errors import BundleError, LightningEspError
from tests.bundle import handmade
from tests.support.keys import write_keys

MODEL = f"{COMPONENT}/esp32s3"
READERS: tuple[Callable[[Path], object], ...] = (read_bundle, verify_bundle)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_bundle({"esp32s3": handmade.one_stage()}, tmp_path / "place" / "kws")


@pytest.fixture
def patience() -> Iterator[None]:
    """End a test that waits for ever; by no error that anything catches."""

    class Waited(BaseException):
        pass

    def stop(number: int, frame: FrameType | None) -> None:
        raise Waited

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def list_as_ours(bundle: Bundle, name: str, data: bytes) -> None:
    """Write into the manifest that the export had written a file."""
    manifest = json.loads((bundle.path / "manifest.json").read_text())
    manifest["files"][name] = sha256(data)
    (bundle.path / "manifest.json").write_text(json.dumps(manifest))


def interrupt(bundle: Bundle) -> None:
    """Leave what a killed export leaves whose files are all staged."""
    staged = bundle.path / ".lightning_esp.tmp" / "files"
    staged.mkdir(parents=True)
    shutil.copy(bundle.path / "manifest.json", staged)


@pytest.mark.parametrize("way", ["relative", "absolute", "through a folder"])
@pytest.mark.parametrize("act", ["export", "read"])
def test_a_manifest_removes_nothing_outside(bundle: Bundle, way: str, act: str) -> None:
    """What an older export wrote and this one does not is removed, and a manifest says what that was."""
    victim = bundle.path.parent / "victim" / "file"
    victim.parent.mkdir()
    victim.write_text("dear")
    name = {"relative": "../victim/file", "absolute": str(victim), "through a folder": "main/../../victim/file"}[way]
    if act == "export":
        list_as_ours(bundle, name, b"dear")
        write_bundle({"esp32s3": handmade.one_stage(seed=9)}, bundle.path)
    else:
        interrupt(bundle)
        list_as_ours(bundle, name, b"dear")
        read_bundle(bundle.path)
        assert not (bundle.path / ".lightning_esp.tmp").exists()
    assert victim.read_text() == "dear"
    read_bundle(bundle.path)


@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "device", "folder", "link to itself"])
@pytest.mark.parametrize("name", ["manifest.json", "report.json", f"{MODEL}/model_config.hpp"])
def test_what_is_no_file_is_not_read(bundle: Bundle, patience: None, kind: str, name: str) -> None:
    place, pipe = bundle.path / name, bundle.path.parent / "pipe"
    place.unlink()
    os.mkfifo(pipe)
    {
        "pipe": lambda: os.mkfifo(place),
        "link to a pipe": lambda: place.symlink_to(pipe),
        "device": lambda: place.symlink_to("/dev/null"),
        "folder": place.mkdir,
        "link to itself": lambda: place.symlink_to(place.name),
    }[kind]()
    for read in READERS:
        with pytest.raises(BundleError, match=place.name):
            read(bundle.path)
    written = False
    with suppress(LightningEspError):  # that this is no bundle, or what is in the way
        written = bool(write_bundle({"esp32s3": handmade.one_stage(seed=9)}, bundle.path))
    if written:
        read_bundle(bundle.path)


@pytest.mark.parametrize("name", [f"{MODEL}/{'a' * 5000}", f"{MODEL}/half \ud800", "half \ud800"])
def test_names_that_no_file_can_have(bundle: Bundle, name: str) -> None:
    list_as_ours(bundle, name, b"")
    for read in READERS:
        with pytest.raises(BundleError, match=r"is missing|is no path inside"):
            read(bundle.path)


@pytest.mark.parametrize("name", ["a" * 5000, "main/" + "b/" * 3000 + "c"])
def test_a_name_that_is_too_long_around_the_model_is_that_of_a_deleted_file(bundle: Bundle, name: str) -> None:
    list_as_ours(bundle, name, b"")
    assert [(edit.path, edit.deleted) for edit in read_bundle(bundle.path).edits] == [(name, True)]
    write_bundle({"esp32s3": handmade.one_stage(seed=9)}, bundle.path)
    assert read_bundle(bundle.path).edits == ()


def test_a_manifest_may_be_nested_deeper_than_python_goes(bundle: Bundle) -> None:
    (bundle.path / "manifest.json").write_text('{"schema":' + "[" * 200_000 + "]" * 200_000 + "}")
    for use in (*READERS, lambda path: write_bundle({"esp32s3": handmade.one_stage()}, path)):
        with pytest.raises(LightningEspError, match="kws"):
            use(bundle.path)


@pytest.mark.parametrize("part", ["inputs", "outputs"])
def test_stages_that_do_not_fit_together_are_no_model(tmp_path: Path, part: str) -> None:
    """Found by mutation: every name is a text, and the one that a stage reads is made by none."""
    bundle = write_bundle({"esp32s3": handmade.three_stages()}, tmp_path / "kws")
    manifest = json.loads((bundle.path / "manifest.json").read_text())
    stages = manifest["targets"]["esp32s3"]["stages"]
    stages[1 if part == "inputs" else 0][part][0]["name"] = "0"
    (bundle.path / "manifest.json").write_text(json.dumps(manifest))
    for use in (read_both, lambda path: simulate(path, torch.zeros(8, 9))):
        with pytest.raises(BundleError, match="stage"):
            use(bundle.path)


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_signature_is_written_into_the_bundle(bundle: Bundle, tmp_path: Path, patience: None, kind: str) -> None:
    private, public = write_keys(tmp_path, "own", ed25519.Ed25519PrivateKey.generate())
    victim, place = tmp_path / "victim", bundle.path / "manifest.json.sig"
    victim.write_text("dear")
    place.symlink_to(victim) if kind == "link" else os.mkfifo(place)
    sign_bundle(bundle.path, private)
    check_signature(bundle.path, public)
    assert victim.read_text() == "dear"
