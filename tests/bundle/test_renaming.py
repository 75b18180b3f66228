"""Bundles whose components had the names of schema 1: refused by readers in words, and taken over by the next export."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from lightning_esp.bundle import read_bundle, write_bundle
from lightning_esp.bundle.bundle import COMPONENT, SCHEMA
from lightning_esp.bundle.directory import check_output_dir, recover_directory, replace_directory
from lightning_esp.bundle.disk import write_files
from lightning_esp.bundle.manifest import hash_files, to_json
from lightning_esp.bundle.renaming import find_component, former_folders, rename
from lightning_esp.errors import BundleError
from lightning_esp.inspection import verify_bundle
from tests.bundle import handmade
from tests.support.replacing import STEPS, kills, project

TARGET = "esp32s3"
FORMER = re.compile(r"^(components/)lesp_|^(boards/[^/]+/)lesp_(?=board/)")


def make_older(files: dict[str, bytes]) -> dict[str, bytes]:
    """The same bundle with the paths of schema 1."""
    found = {FORMER.sub(lambda match: match[1] or match[2], name): data for name, data in files.items()}
    del found["manifest.json"]
    return {**found, "manifest.json": to_json({"schema": "lightning_esp.bundle/1", "files": hash_files(found)})}


def write_older(directory: Path) -> dict[str, bytes]:
    """Write a bundle with the paths of schema 1, and return the files of one as it would be written today."""
    write_bundle({TARGET: handmade.one_stage()}, directory.with_name("today"))
    files = handmade.read_files(directory.with_name("today"))
    write_files(directory, make_older(files))
    return files


def test_every_older_path_has_one_today():
    today = [*project("1"), "components/lesp_audio/include/audio/card.hpp", "boards/pins/lesp_board/card.cpp"]
    older = list(make_older(dict.fromkeys(today, b"")))
    assert [rename(name) for name in older if name != "manifest.json"] == [n for n in today if n != "manifest.json"]
    assert [rename(name) for name in today] == today
    assert former_folders(older) == {"components/model", "components/audio", "boards/pins/board"}
    assert (find_component(older), find_component(today), find_component([])) == (
        "components/model",
        COMPONENT,
        COMPONENT,
    )
    for name in ("components/audio", "components/mine/audio/x", "boards/pins/sdkconfig.defaults", "main/model/x"):
        assert rename(name) == name


def test_an_older_bundle_is_refused_with_the_command_that_makes_a_new_one(tmp_path):
    write_older(tmp_path / "fw")
    command = rf"lightning-esp export CHECKPOINT --recipe SCRIPT --output {re.escape(str(tmp_path / 'fw'))}$"
    for read in (read_bundle, verify_bundle):
        with pytest.raises(BundleError, match=command):
            read(tmp_path / "fw")


def test_an_export_takes_over_an_older_bundle_that_nobody_touched(tmp_path):
    today = write_older(tmp_path / "fw")
    (notice,) = replace_directory(check_output_dir(tmp_path / "fw"), today)
    assert "components/audio is components/lesp_audio" in notice
    assert "boards/pins/board is boards/pins/lesp_board" in notice
    assert "idf.py fullclean" in notice
    assert handmade.read_files(tmp_path / "fw") == today
    assert not read_bundle(tmp_path / "fw").edits
    assert replace_directory(tmp_path / "fw", today) == ()


def test_what_was_edited_deleted_and_added_in_an_older_bundle_survives(tmp_path):
    today = write_older(tmp_path / "fw")
    edited = {
        "components/streaming/src/detector.cpp": b"mine",
        "components/model/CMakeLists.txt": b"mine too",
        "boards/pins/board/card.cpp": b"my card",
        "main/app_main.cpp": b"my app",
    }
    added = {"components/audio/src/more.cpp": b"more", "components/own/CMakeLists.txt": b"own", "main/led.c": b"led"}
    changed = {f"components/model/{TARGET}/model_config.hpp": b"changed"}
    write_files(tmp_path / "fw", {**edited, **added, **changed})
    (tmp_path / "fw/components/listener/CHANGELOG.md").unlink()
    text = "\n".join(replace_directory(tmp_path / "fw", today))
    moved = {rename(name): data for name, data in edited.items()}
    newer = {f"{name}.new": today[name] for name in moved if not name.startswith("main/")}  # main is the same
    kept = {name: data for name, data in today.items() if name != "components/lesp_listener/CHANGELOG.md"}
    assert handmade.read_files(tmp_path / "fw") == {**kept, **moved, **newer, **added, **changed}
    assert (
        "components/streaming/src/detector.cpp is components/lesp_streaming/src/detector.cpp now, as you edited" in text
    )
    assert "components/audio holds files of yours" in text
    assert f"components/model/{TARGET}/model_config.hpp is not what was written, and stays" in text
    assert {edit.path for edit in read_bundle(tmp_path / "fw").edits} == {
        *moved,
        "components/lesp_listener/CHANGELOG.md",
    }
    # The next export knows them as edits of its own files.
    again = "\n".join(replace_directory(tmp_path / "fw", today))
    assert "the template still waits in components/lesp_streaming/src/detector.cpp.new" in again
    assert (tmp_path / "fw/components/lesp_streaming/src/detector.cpp").read_bytes() == b"mine"


def test_an_own_file_in_the_place_of_a_renamed_one_is_not_written_over(tmp_path):
    today = write_older(tmp_path / "fw")
    own = {"components/lesp_streaming/src/detector.cpp": b"own", "components/streaming/src/detector.cpp": b"edited"}
    write_files(tmp_path / "fw", own)
    text = "\n".join(replace_directory(tmp_path / "fw", today))
    found = handmade.read_files(tmp_path / "fw")
    assert {name: found[name] for name in own} == own
    assert "components/streaming/src/detector.cpp is not what was written, and stays" in text


@pytest.mark.usefixtures("unsynced")
@pytest.mark.parametrize("step", STEPS)
def test_no_edit_of_an_older_bundle_is_lost_whenever_the_export_is_killed(tmp_path, step):
    extra = {
        "components__lesp_audio__src__reader_dot_cpp": "template",
        "boards__pins__lesp_board__card_dot_cpp": "card",
    }
    older, today = make_older(project("1", **extra)), project("2", **extra)
    directory, seen = tmp_path / "fw", set()
    mine = {"components/audio/src/reader.cpp": b"mine"}
    write_files(directory, {**older, **mine})
    for _ in kills(lambda: replace_directory(directory, today), step):
        recover_directory(directory)
        found = {name: data for name, data in handmade.read_files(directory).items() if ".lightning_esp" not in name}
        schema = json.loads(found["manifest.json"])["schema"]
        seen.add(schema)
        after = {rename(name): data for name, data in mine.items()}
        waiting = {f"{name}.new": today[name] for name in after}
        assert found == ({**today, **after, **waiting} if schema == SCHEMA else {**older, **mine})
        shutil.rmtree(directory)
        write_files(directory, {**older, **mine})
    assert len(seen) == 2


def test_what_an_older_version_had_staged_goes_to_its_own_place(tmp_path):
    older = make_older(project("1"))
    write_files(tmp_path / "fw", make_older(project("0")))
    staged = tmp_path / "fw/.lightning_esp.tmp"
    model = {
        name.removeprefix("components/model/"): d for name, d in older.items() if name.startswith("components/model/")
    }
    others = {name: data for name, data in older.items() if not name.startswith("components/model/")}
    write_files(staged / "model", {**model, ".staged": b""})
    write_files(staged / "files", others)
    recover_directory(tmp_path / "fw")
    assert handmade.read_files(tmp_path / "fw") == older
