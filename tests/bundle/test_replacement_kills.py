"""A bundle is replaced without losing the model, whenever the process ends."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lightning_esp.bundle import disk
from lightning_esp.bundle.directory import recover_directory, replace_directory
from tests.bundle import handmade
from tests.support.replacing import CHIP, STEPS, expect, kills, project


@pytest.mark.usefixtures("unsynced")
@pytest.mark.parametrize("step", STEPS)
def test_a_new_bundle_is_whole_or_not_there_whenever_the_process_is_killed(tmp_path, step):
    for number in kills(lambda: replace_directory(tmp_path / "fw", project("1")), step):
        if (tmp_path / "fw").exists():
            expect(tmp_path / "fw", project("1"))
            (tmp_path / "fw").rename(tmp_path / f"done.{number}")
    replace_directory(tmp_path / "fw", project("1"))
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith("done.")] == ["fw"]


@pytest.mark.usefixtures("unsynced")
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
