from __future__ import annotations

import errno
import os

import pytest

from lightning_esp.bundle import (
    check_output_dir,
    probe_output_dir,
    read_bundle,
    write_bundle,
    write_failure_note,
    writer,
)
from lightning_esp.callback import _describe
from lightning_esp.errors import OutputDirectoryError
from tests.bundle import handmade


def test_what_nobody_edited_is_replaced_whole(tmp_path):
    write_bundle({"esp32s3": handmade.three_stages(), "esp32p4": handmade.three_stages("esp32p4")}, tmp_path / "kws")
    write_bundle({"esp32s3": handmade.one_stage()}, tmp_path / "kws")
    write_bundle({"esp32s3": handmade.one_stage()}, tmp_path / "fresh")
    assert handmade.read_files(tmp_path / "kws") == handmade.read_files(tmp_path / "fresh")
    assert {path.name for path in tmp_path.iterdir()} == {"kws", "fresh"}


def test_a_second_export_keeps_the_firmware_that_the_user_has_made_of_the_first(tmp_path):
    directory = tmp_path / "kws"
    write_bundle({"esp32s3": handmade.three_stages()}, directory)
    with open(directory / "main/listen.cpp", "a") as file:
        file.write("// mine\n")
    (directory / "boards/esp_box_3/sdkconfig.defaults").unlink()
    own = {"main/my_led.cpp": b"led", "sdkconfig": b"CONFIG_X=y", "build/app.bin": b"app", ".git/HEAD": b"ref"}
    for name, data in own.items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_bytes(data)
    before = handmade.read_files(directory)
    bundle = write_bundle({"esp32s3": handmade.one_stage()}, directory)
    write_bundle({"esp32s3": handmade.one_stage()}, tmp_path / "fresh")
    after, fresh = handmade.read_files(directory), handmade.read_files(tmp_path / "fresh")
    assert {name: after.get(name) for name in fresh if name.startswith("components/") or "/" not in name} == {
        name: data for name, data in fresh.items() if name.startswith("components/") or "/" not in name
    }
    assert {name: after[name] for name in (*own, "main/listen.cpp")} == {
        name: before[name] for name in (*own, "main/listen.cpp")
    }
    assert set(after) == set(fresh) - {"boards/esp_box_3/sdkconfig.defaults"} | set(own)
    assert [str(edit) for edit in bundle.edits] == ["boards/esp_box_3/sdkconfig.defaults (deleted)", "main/listen.cpp"]
    assert read_bundle(directory) == bundle


def test_the_log_says_where_a_newer_template_lies(tmp_path, monkeypatch, caplog):
    write_bundle({"esp32s3": handmade.one_stage()}, tmp_path / "kws")
    (tmp_path / "kws/main/listen.cpp").write_text("mine")
    newer = {**writer.read_project(), "main/listen.cpp": b"better"}
    monkeypatch.setattr(writer, "read_project", lambda: newer)
    bundle = write_bundle({"esp32s3": handmade.one_stage()}, tmp_path / "kws")
    assert caplog.messages == [
        f"{tmp_path / 'kws'}: main/listen.cpp stays as you edited it; the newer template is main/listen.cpp.new."
    ]
    assert _describe(bundle).endswith("Left as you edited them: main/listen.cpp (newer: main/listen.cpp.new).")


def test_success_removes_only_the_note_of_its_own_failure(tmp_path):
    note = write_failure_note(tmp_path / "kws", "Traceback")
    assert note == tmp_path / "FAILED.txt"
    assert "Traceback" in note.read_text()
    write_bundle({"esp32s3": handmade.one_stage()}, tmp_path / "other")
    assert note.exists()
    write_bundle({"esp32s3": handmade.one_stage()}, tmp_path / "kws")
    assert not note.exists()


def test_a_note_overwrites_neither_a_file_of_the_users_nor_the_note_of_another_bundle(tmp_path):
    (tmp_path / "FAILED.txt").write_text("my exam")
    assert write_failure_note(tmp_path / "kws", "first").name == "FAILED.2.txt"
    assert write_failure_note(tmp_path / "other", "its own").name == "FAILED.3.txt"
    assert write_failure_note(tmp_path / "kws", "second").name == "FAILED.2.txt"
    write_bundle({"esp32s3": handmade.one_stage()}, tmp_path / "other")
    assert sorted(path.name for path in tmp_path.glob("FAILED*")) == ["FAILED.2.txt", "FAILED.txt"]
    write_bundle({"esp32s3": handmade.one_stage()}, tmp_path / "kws")
    assert (tmp_path / "FAILED.txt").read_text() == "my exam"
    assert not (tmp_path / "FAILED.2.txt").exists()


# The output directory.


def test_a_place_is_tried_and_left_as_it_was(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    write_bundle({"esp32s3": handmade.one_stage()}, tmp_path / "kws")
    before = sorted(tmp_path.rglob("*"))
    for name in ("empty", "kws", "new", "new/deep/er"):
        assert probe_output_dir(tmp_path / name) == tmp_path / name
    with pytest.raises(OutputDirectoryError, match=r"cannot be written \(File name too long\)"):
        probe_output_dir(tmp_path / "new" / ("x" * 256))

    def fail(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    for name in ("empty", "kws", "new/deep/er"):
        with pytest.raises(OutputDirectoryError, match=r"cannot be written \(No space left on device\)"):
            probe_output_dir(tmp_path / name)
    assert sorted(tmp_path.rglob("*")) == before


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
