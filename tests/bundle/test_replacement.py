"""A bundle is replaced without losing what is the user's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lightning_esp.bundle.directory import check_output_dir, replace_directory
from lightning_esp.errors import OutputDirectoryError
from tests.bundle import handmade
from tests.support.replacing import CHIP, expect, project


def test_a_newer_template_replaces_what_was_not_edited_and_lies_beside_what_was(tmp_path):
    replace_directory(tmp_path / "fw", project("1"))
    (tmp_path / "fw/main/listen.cpp").write_text("mine")
    newer = project("2", main__listen_dot_cpp="better", main__app_main_dot_cpp="better")
    (notice,) = replace_directory(tmp_path / "fw", newer)
    assert notice == "main/listen.cpp stays as you edited it; the newer template is main/listen.cpp.new."
    expect(tmp_path / "fw", newer, main__listen_dot_cpp=b"mine", main__listen_dot_cpp_dot_new=b"better")
    # It is said again until it is dealt with.
    (notice,) = replace_directory(tmp_path / "fw", newer)
    assert "still waits in main/listen.cpp.new" in notice
    (tmp_path / "fw/main/listen.cpp.new").unlink()
    assert replace_directory(tmp_path / "fw", newer) == ()
    expect(tmp_path / "fw", newer, main__listen_dot_cpp=b"mine")


def test_a_newer_template_takes_the_place_of_the_one_that_waited_but_not_of_an_edited_one(tmp_path):
    replace_directory(tmp_path / "fw", project("1"))
    (tmp_path / "fw/main/listen.cpp").write_text("mine")
    replace_directory(tmp_path / "fw", project("1", main__listen_dot_cpp="second"))
    replace_directory(tmp_path / "fw", project("1", main__listen_dot_cpp="third"))
    assert (tmp_path / "fw/main/listen.cpp.new").read_text() == "third"
    (tmp_path / "fw/main/listen.cpp.new").write_text("half merged")
    replace_directory(tmp_path / "fw", project("1", main__listen_dot_cpp="fourth"))
    assert (tmp_path / "fw/main/listen.cpp.new").read_text() == "half merged"
    assert (tmp_path / "fw/main/listen.cpp.new2").read_text() == "fourth"


def test_an_edit_that_became_the_template_is_none(tmp_path):
    replace_directory(tmp_path / "fw", project("1"))
    (tmp_path / "fw/main/listen.cpp").write_text("fixed")
    assert replace_directory(tmp_path / "fw", project("2", main__listen_dot_cpp="fixed")) == ()
    replace_directory(tmp_path / "fw", project("3", main__listen_dot_cpp="next"))
    expect(tmp_path / "fw", project("3", main__listen_dot_cpp="next"))


def test_what_was_deleted_stays_deleted_except_for_the_model(tmp_path):
    replace_directory(tmp_path / "fw", project("1"))
    (tmp_path / "fw/main/listen.cpp").unlink()
    (tmp_path / "fw/components/lesp_model/CMakeLists.txt").unlink()
    (tmp_path / "fw/report.html").unlink()
    newer = project("2", main__listen_dot_cpp="better")
    assert replace_directory(tmp_path / "fw", newer) == ()
    expect(tmp_path / "fw", newer, main__listen_dot_cpp=None)
    directory_of_model = tmp_path / "fw/components"
    directory_of_model.rename(tmp_path / "gone")
    replace_directory(tmp_path / "fw", newer)
    expect(tmp_path / "fw", newer, main__listen_dot_cpp=None)


def test_a_template_that_is_none_any_more_goes_unless_its_part_was_edited(tmp_path):
    older = project("1", main__old_dot_cpp="old", boards__eye__old_dot_cpp="old")
    replace_directory(tmp_path / "fw", older)
    (tmp_path / "fw/main/app_main.cpp").write_text("calls old.cpp")
    replace_directory(tmp_path / "fw", project("2"))
    expect(tmp_path / "fw", project("2"), main__old_dot_cpp=b"old", main__app_main_dot_cpp=b"calls old.cpp")
    assert not (tmp_path / "fw/boards").exists()


def test_files_in_the_directory_of_the_model_stay_and_edits_of_generated_ones_lie_beside(tmp_path):
    older = project("1", **{f"{CHIP}/gone_stage_0.espdl".replace("/", "__"): "gone"})
    replace_directory(tmp_path / "fw", older)
    model = tmp_path / "fw" / CHIP
    (model / "notes.txt").write_text("notes")
    (model / "link").symlink_to("notes.txt")
    (model / "mine.espdl").write_text("another model")
    (model / "model_stage_0.espdl").write_text("patched")
    (tmp_path / "fw/components/lesp_model/CMakeLists.txt").write_text("mine")
    notices = replace_directory(tmp_path / "fw", project("2"))
    # What the firmware would embed by its suffix has another one.
    assert sorted(path.name for path in model.iterdir()) == [
        "golden",
        "link",
        "mine.espdl.old",
        "model_stage_0.espdl",
        "model_stage_0.espdl.old",
        "notes.txt",
    ]
    assert os.readlink(model / "link") == "notes.txt"
    assert (model / "model_stage_0.espdl.old").read_text() == "patched"
    assert (model / "model_stage_0.espdl").read_text() == "weights 2"
    assert (tmp_path / "fw/components/lesp_model/CMakeLists.txt").read_text() == "mine"
    assert len(notices) == 2
    assert "what was there is components/lesp_model/esp32s3/model_stage_0.espdl.old" in notices[1]


def test_a_manifest_that_knows_no_hashes_makes_every_other_file_an_edited_one(tmp_path):
    replace_directory(tmp_path / "fw", project("1"))
    (tmp_path / "fw/manifest.json").write_text('{"schema": "lightning_esp.bundle/0"}')
    (tmp_path / "fw/main/listen.cpp").write_text("mine")
    check_output_dir(tmp_path / "fw")
    notices = replace_directory(tmp_path / "fw", project("2"))
    assert (tmp_path / "fw/main/listen.cpp").read_text() == "mine"
    assert (tmp_path / "fw/main/listen.cpp.new").read_text() == "listen"
    assert (tmp_path / "fw/main/app_main.cpp").read_text() == "app"
    assert (tmp_path / "fw" / CHIP / "model_stage_0.espdl").read_text() == "weights 2"
    assert any(notice.startswith("main/listen.cpp stays") for notice in notices)
    assert not any("app_main" in notice for notice in notices)


def test_no_link_is_followed_out_of_the_bundle(tmp_path):
    replace_directory(tmp_path / "fw", project("1"))
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/listen.cpp").write_text("shared")
    (tmp_path / "fw/main/listen.cpp").unlink()
    (tmp_path / "fw/main/listen.cpp").symlink_to(tmp_path / "shared/listen.cpp")
    replace_directory(tmp_path / "fw", project("2", main__listen_dot_cpp="better"))
    assert (tmp_path / "fw/main/listen.cpp").is_symlink()
    assert (tmp_path / "fw/main/listen.cpp.new").read_text() == "better"
    (tmp_path / "fw/main").rename(tmp_path / "main")
    (tmp_path / "fw/main").symlink_to(tmp_path / "shared")
    before = handmade.read_files(tmp_path / "shared")
    notices = replace_directory(tmp_path / "fw", project("3", main__listen_dot_cpp="third", main__more_dot_cpp="more"))
    assert handmade.read_files(tmp_path / "shared") == before == {"listen.cpp": b"shared"}
    assert "main/listen.cpp is left alone, since a link leads to it" in notices[0]
    (tmp_path / "fw/components/lesp_model").rename(tmp_path / "model")
    (tmp_path / "fw/components/lesp_model").symlink_to(tmp_path / "model")
    with pytest.raises(OutputDirectoryError, match=r"components/lesp_model' is a link, a file or a volume"):
        replace_directory(tmp_path / "fw", project("4"))


def test_permissions_stay(tmp_path):
    replace_directory(tmp_path / "fw", project("1"))
    for name, mode in {
        "main/app_main.cpp": 0o444,
        "partitions.csv": 0o664,
        CHIP: 0o775,
        "manifest.json": 0o640,
    }.items():
        (tmp_path / "fw" / name).chmod(mode)
    newer = project("2", main__app_main_dot_cpp="better")
    replace_directory(tmp_path / "fw", newer)
    expect(tmp_path / "fw", newer)
    modes = [(tmp_path / "fw" / name).stat().st_mode & 0o777 for name in ("main/app_main.cpp", "partitions.csv", CHIP)]
    assert modes == [0o444, 0o664, 0o775]


def test_what_did_not_change_is_not_touched(tmp_path):
    replace_directory(tmp_path / "fw", project("1"))
    names = ("main/listen.cpp", "components/lesp_model/CMakeLists.txt")
    before = [((tmp_path / "fw" / name).stat().st_ino, (tmp_path / "fw" / name).stat().st_mtime_ns) for name in names]
    replace_directory(tmp_path / "fw", project("2"))
    assert before == [((tmp_path / "fw" / n).stat().st_ino, (tmp_path / "fw" / n).stat().st_mtime_ns) for n in names]


def test_a_directory_that_may_not_be_written_is_found_before_anything_is(tmp_path, monkeypatch):
    replace_directory(tmp_path / "fw", project("1"))
    before, access = handmade.read_files(tmp_path / "fw"), os.access
    # Root may write everywhere, so the system is asked in a test's stead.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "main" and access(path, mode))
    with pytest.raises(OutputDirectoryError, match=r"fw/main' may not be written by this user.*chmod"):
        replace_directory(tmp_path / "fw", project("2", main__listen_dot_cpp="better"))
    assert handmade.read_files(tmp_path / "fw") == before
    replace_directory(tmp_path / "fw", project("2"))


def test_the_current_directory_and_a_repository_can_be_the_output(tmp_path, monkeypatch):
    (tmp_path / "fw/.git").mkdir(parents=True)
    (tmp_path / "fw/.git/HEAD").write_text("ref")
    monkeypatch.chdir(tmp_path / "fw")
    for version in ("1", "2"):
        replace_directory(check_output_dir("."), project(version))
        assert os.getcwd() == str(tmp_path / "fw")
        assert Path("main/listen.cpp").read_text() == "listen"
        expect(tmp_path / "fw", project(version), **{"_dot_git__HEAD": b"ref"})
