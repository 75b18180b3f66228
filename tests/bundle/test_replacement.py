"""A bundle is replaced without losing what is the user's, or the model, whenever the process ends."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from lightning_esp.bundle import disk, read_both, write_bundle
from lightning_esp.bundle.bundle import SCHEMA
from lightning_esp.bundle.directory import check_output_dir, recover_directory, replace_directory
from lightning_esp.bundle.manifest import hash_files, to_json
from lightning_esp.bundle.reader import unless_replaced
from lightning_esp.errors import BundleError, OutputDirectoryError
from tests.bundle import handmade

CHIP = "components/lesp_model/esp32s3"
COUNTED = {"open", "os.rename", "os.mkdir", "os.link", "os.remove", "os.rmdir", "os.chmod", "shutil.rmtree"}


def project(version: str, **changes: str | None) -> dict[str, bytes]:
    """A bundle of few files: `changes` by path, with `__` for `/` and `_dot_` for `.`; None leaves one out."""
    texts: dict[str, str | None] = {
        f"{CHIP}/model_stage_0.espdl": f"weights {version}",
        f"{CHIP}/golden/model_golden.bin": f"golden {version}",
        "components/lesp_model/CMakeLists.txt": "cmake",
        "report.json": f"report {version}",
        "report.html": f"page {version}",
        "main/listen.cpp": "listen",
        "main/app_main.cpp": "app",
        "partitions.csv": f"table {version}",
    }
    texts |= {name.replace("__", "/").replace("_dot_", "."): text for name, text in changes.items()}
    files = {name: text.encode() for name, text in texts.items() if text is not None}
    return {**files, "manifest.json": to_json({"schema": SCHEMA, "files": hash_files(files)})}


def expect(directory: Path, files: Mapping[str, bytes], **changes: bytes | None) -> None:
    named = {name.replace("__", "/").replace("_dot_", "."): data for name, data in changes.items()}
    wanted = {name: data for name, data in {**files, **named}.items() if data is not None}
    assert handmade.read_files(directory) == wanted


@pytest.fixture(params=["exchange", "rename"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "rename":
        monkeypatch.setattr(disk, "_exchange", lambda first, second: False)
    return str(request.param)


# What is whose.


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


# Whenever the process ends.


def die_at(number: int, action: Callable[[], object]) -> bool:
    """Whether a process that is killed at a file operation has come so far."""
    child = os.fork()
    if child == 0:
        count = 0

        def count_down(event: str, arguments: object) -> None:
            nonlocal count
            if event in COUNTED:  # not os.kill, which is an event itself
                count += 1
                if count == number:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(count_down)
            action()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def kills(action: Callable[[], object], step: int) -> Iterator[int]:
    number = 1
    while die_at(number, action):
        yield number
        number += step


@pytest.fixture
def _unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill loses nothing that was written, and the disk takes its time."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


STEPS = [pytest.param(7, id="some"), pytest.param(1, id="all", marks=pytest.mark.full)]


@pytest.mark.usefixtures("_unsynced")
@pytest.mark.parametrize("step", STEPS)
def test_a_new_bundle_is_whole_or_not_there_whenever_the_process_is_killed(tmp_path, step):
    for number in kills(lambda: replace_directory(tmp_path / "fw", project("1")), step):
        if (tmp_path / "fw").exists():
            expect(tmp_path / "fw", project("1"))
            (tmp_path / "fw").rename(tmp_path / f"done.{number}")
    replace_directory(tmp_path / "fw", project("1"))
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith("done.")] == ["fw"]


@pytest.mark.usefixtures("_unsynced")
@pytest.mark.parametrize("step", STEPS)
def test_the_old_or_the_new_bundle_is_whole_whenever_the_process_is_killed(tmp_path, way, step):
    directory, seen = tmp_path / "fw", []
    versions = {
        v: project(v, main__app_main_dot_cpp=v, **({"main__old_dot_cpp": "x"} if v == "1" else {})) for v in "12"
    }
    replace_directory(directory, versions["1"])
    (directory / "main/listen.cpp").write_text("mine")
    (directory / "main/mine.cpp").write_text("mine")
    (directory / CHIP / "notes.txt").write_text("mine")
    own = {"main/listen.cpp": b"mine", "main/mine.cpp": b"mine", f"{CHIP}/notes.txt": b"mine"}
    kept = {"main/old.cpp": b"x"}  # beside an edited file
    for _ in kills(lambda: replace_directory(directory, versions["2"]), step):
        model = {p.read_text() for p in (directory / CHIP).rglob("model_*")} if (directory / CHIP).exists() else set()
        assert model in ({"weights 1", "golden 1"}, {"weights 2", "golden 2"}, set())
        assert model or way == "rename"
        recover_directory(directory)
        found = {name: data for name, data in handmade.read_files(directory).items() if ".lightning_esp" not in name}
        (version,) = {"1", "2"} & {found["report.json"].decode()[-1]}
        seen.append(version)
        assert found == {**versions[version], **own, **kept}
        replace_directory(directory, versions["1"])
        assert handmade.read_files(directory) == {**versions["1"], **own, **kept}
        assert [path.name for path in tmp_path.iterdir()] == ["fw"]
    assert len(seen) * step > 60
    assert set(seen) == {"1", "2"}


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "no space left"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", STEPS)
def test_an_older_bundle_survives_every_failure(tmp_path, monkeypatch, way, error, step):
    directory = tmp_path / "fw"
    replace_directory(directory, project("1"))
    number, done = 1 - step, False
    while not done:
        number, calls = number + step, 0

        def fail(real: Callable[..., object], *arguments: object, at: int = number) -> object:
            nonlocal calls
            calls += 1
            if calls == at:
                raise error
            return real(*arguments)

        with monkeypatch.context() as patch:
            for name in ("rename", "replace", "fsync"):
                real = (lambda descriptor: None) if name == "fsync" else getattr(os, name)
                patch.setattr(os, name, lambda *a, real=real: fail(real, *a))
            try:
                replace_directory(directory, project("2"))
                done = True
            except type(error):
                pass
        recover_directory(directory)
        found = handmade.read_files(directory)
        assert found in (project("1"), project("2"))
        assert [path.name for path in tmp_path.iterdir()] == ["fw"]
        replace_directory(directory, project("1"))
    assert number > 10


def test_what_killed_exports_left_is_cleared_but_not_what_is_in_use(tmp_path):
    made, live = disk.make_beside(tmp_path / "fw"), disk.make_beside(tmp_path / "fw")
    (tmp_path / ".fw.1234.tmp").mkdir()
    (tmp_path / ".fw.notes.tmp").mkdir()
    (tmp_path / ".fwx.1234.tmp").mkdir()
    with disk.locked(live):
        replace_directory(tmp_path / "fw", project("1"))
        assert not made.exists()
        assert {p.name for p in tmp_path.iterdir()} == {"fw", live.name, ".fw.notes.tmp", ".fwx.1234.tmp"}


def test_a_name_may_be_as_long_as_the_file_system_lets_it(tmp_path):
    replace_directory(tmp_path / ("x" * 255), project("1"))
    replace_directory(tmp_path / ("ü" * 127), project("1"))
    assert len(list(tmp_path.iterdir())) == 2


def test_everything_is_on_the_disk_before_the_old_model_goes(tmp_path, monkeypatch):
    replace_directory(tmp_path / "fw", project("1"))
    synced, log = set(), []
    fsync, put = os.fsync, disk._exchange
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.add(os.readlink(f"/proc/self/fd/{fd}")), fsync(fd)))

    def exchange(made: Path, place: Path) -> bool:
        staged = {str(path) for path in (tmp_path / "fw/.lightning_esp.tmp").rglob("*")}
        log.append(staged - synced - {str(path) for path in staged if str(path).endswith("CMakeLists.txt")})
        return put(made, place)

    monkeypatch.setattr(disk, "_exchange", exchange)
    replace_directory(tmp_path / "fw", project("2"))
    staging = tmp_path / "fw/.lightning_esp.tmp"
    # The manifest was synced under the name that it had then.
    assert log == [{str(staging / "files/manifest.json"), str(staging / "model/components")}] or log == [
        {str(staging / "files/manifest.json")}
    ]
    assert str(staging / "manifest.json") in synced
    assert str(tmp_path / "fw") in synced


# Readers and other writers.


def test_a_reader_never_meets_half_a_replacement(tmp_path):
    sets = []
    for seed in (1, 2):
        write_bundle({"esp32s3": handmade.three_stages(seed=seed)}, tmp_path / str(seed))
        sets.append(handmade.read_files(tmp_path / str(seed)))
    replace_directory(tmp_path / "fw", sets[0])
    models = [read_both(tmp_path / seed)[1] for seed in "12"]
    end, met = threading.Event(), set()

    def replace() -> None:
        for index in range(12):
            replace_directory(tmp_path / "fw", sets[index % 2])
        end.set()

    writer = threading.Thread(target=replace)
    writer.start()
    while not end.is_set():
        met.add(models.index(read_both(tmp_path / "fw")[1]))
    writer.join()
    assert met == {0, 1}


def test_a_reader_notes_that_the_model_went_and_came_back(tmp_path):
    sets = []
    for seed in (1, 2):
        write_bundle({"esp32s3": handmade.three_stages(seed=seed)}, tmp_path / str(seed))
        sets.append(handmade.read_files(tmp_path / str(seed)))
    replace_directory(tmp_path / "fw", sets[0])
    tries = []

    def read() -> str:
        tries.append(None)
        if len(tries) > 1:
            return "read"
        # While the first reading is under way, the bundle becomes another one, and what it was.
        replace_directory(tmp_path / "fw", sets[1])
        replace_directory(tmp_path / "fw", sets[0])
        raise BundleError("half of one, half of the other")

    assert unless_replaced(tmp_path / "fw", read) == "read"


def test_what_another_export_swept_away_is_made_again(tmp_path, monkeypatch):
    made = []

    def make(directory: Path) -> Path:
        made.append(disk.make_beside(directory))
        if len(made) == 1:
            made[0].rmdir()
        return made[-1]

    monkeypatch.setattr("lightning_esp.bundle.directory.make_beside", make)
    replace_directory(tmp_path / "fw", project("1"))
    assert len(made) == 2
    assert handmade.read_files(tmp_path / "fw") == project("1")


def test_two_writers_leave_one_of_two_bundles(tmp_path):
    writers = [
        threading.Thread(target=replace_directory, args=(tmp_path / "fw", project(version))) for version in "1212"
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert handmade.read_files(tmp_path / "fw") in (project("1"), project("2"))
    assert [path.name for path in tmp_path.iterdir()] == ["fw"]


def test_a_writer_does_not_wait_for_ever(tmp_path, monkeypatch):
    replace_directory(tmp_path / "fw", project("1"))
    monkeypatch.setattr("lightning_esp.bundle.disk.time.monotonic", iter(range(0, 10**6, 100)).__next__)
    with disk.locked(tmp_path / "fw"), pytest.raises(OutputDirectoryError, match="in use by another process"):
        replace_directory(tmp_path / "fw", project("2"))
