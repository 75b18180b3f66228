from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

import lightning_esp.bundle.directory as directory_module
from lightning_esp.bundle import check_output_dir, read_bundle, write_bundle, write_failure_note
from lightning_esp.errors import BundleError, OutputDirectoryError
from tests.bundle import handmade


def test_an_older_bundle_is_replaced_whole(tmp_path):
    write_bundle({"esp32s3": handmade.three_stages()}, tmp_path / "kws")
    (tmp_path / "kws/build").mkdir()
    (tmp_path / "kws/build/old.o").write_bytes(b"x")
    write_bundle({"esp32s3": handmade.one_stage()}, tmp_path / "kws")
    write_bundle({"esp32s3": handmade.one_stage()}, tmp_path / "fresh")
    assert handmade.read_files(tmp_path / "kws") == handmade.read_files(tmp_path / "fresh")
    assert {path.name for path in tmp_path.iterdir()} == {"kws", "fresh"}


@pytest.mark.parametrize("failing_rename", [1, 2])
@pytest.mark.parametrize("error", [OSError("disk"), KeyboardInterrupt()])
def test_an_older_bundle_survives_a_failed_rename(tmp_path, monkeypatch, failing_rename, error):
    write_bundle({"esp32s3": handmade.three_stages()}, tmp_path / "kws")
    before, calls, rename = handmade.read_files(tmp_path / "kws"), [], os.rename

    def fail(*arguments):
        calls.append(arguments)
        if len(calls) == failing_rename:
            raise error
        rename(*arguments)

    monkeypatch.setattr(directory_module.os, "rename", fail)
    with pytest.raises(type(error)):
        write_bundle({"esp32s3": handmade.one_stage()}, tmp_path / "kws")
    assert handmade.read_files(tmp_path / "kws") == before
    assert [path.name for path in tmp_path.iterdir()] == ["kws"]


def test_an_older_bundle_survives_a_full_disk(tmp_path, monkeypatch):
    write_bundle({"esp32s3": handmade.three_stages()}, tmp_path / "kws")
    before, write = handmade.read_files(tmp_path / "kws"), Path.write_bytes

    def fail(path, data):
        if path.name == "report.json":
            raise OSError("no space left")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="no space left"):
        write_bundle({"esp32s3": handmade.one_stage()}, tmp_path / "kws")
    assert handmade.read_files(tmp_path / "kws") == before
    assert [path.name for path in tmp_path.iterdir()] == ["kws"]


def test_a_bundle_set_aside_by_a_killed_process_comes_back(tmp_path):
    write_bundle({"esp32s3": handmade.three_stages()}, tmp_path / "kws")
    before = handmade.read_files(tmp_path / "kws")
    (tmp_path / "kws").rename(tmp_path / ".kws.previous")
    quantized, verification = handmade.one_stage()
    golden = replace(verification.golden, outputs={})
    with pytest.raises(BundleError, match="no values of tensor 'output'"):
        write_bundle({"esp32s3": (quantized, replace(verification, golden=golden))}, tmp_path / "kws")
    directory_module.recover_directory(tmp_path / "kws")
    assert handmade.read_files(tmp_path / "kws") == before


def test_success_removes_only_the_note_of_its_own_failure(tmp_path):
    note = write_failure_note(tmp_path / "kws", "Traceback")
    assert note == tmp_path / "FAILED.txt"
    assert "Traceback" in note.read_text()
    write_bundle({"esp32s3": handmade.one_stage()}, tmp_path / "other")
    assert note.exists()
    write_bundle({"esp32s3": handmade.one_stage()}, tmp_path / "kws")
    assert not note.exists()


# The output directory.


def test_a_directory_that_may_be_written_is_left_alone(tmp_path):
    (tmp_path / "empty").mkdir()
    assert check_output_dir(tmp_path / "empty") == (tmp_path / "empty").resolve()
    assert check_output_dir(str(tmp_path / "new" / "deep")) == (tmp_path / "new" / "deep").resolve()
    assert not (tmp_path / "new").exists()
    write_bundle({"esp32s3": handmade.one_stage()}, tmp_path / "kws")
    check_output_dir(tmp_path / "kws")


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("file", "is a file; a bundle is a directory"),
        ("file/inside", "lies inside"),
        ("notes", "is a directory with other files in it"),
        ("foreign", "is a directory with other files in it"),
    ],
)
def test_other_output_directories_are_refused_before_anything_is_done(tmp_path, path, rule):
    (tmp_path / "file").write_text("precious")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/diary.txt").write_text("precious")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/manifest.json").write_text('{"schema": "another/1"}')
    before = handmade.read_files(tmp_path)
    with pytest.raises(OutputDirectoryError) as caught:
        write_bundle({"esp32s3": handmade.one_stage()}, tmp_path / path)
    assert f"output_dir={str(tmp_path / path)!r}" in str(caught.value)
    assert rule in str(caught.value)
    assert "ame one that does not exist" in str(caught.value) or "name another directory" in str(caught.value)
    assert handmade.read_files(tmp_path) == before


def test_a_link_to_a_directory_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_bundle({"esp32s3": handmade.one_stage()}, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert read_bundle(tmp_path / "link").path == tmp_path / "real"
