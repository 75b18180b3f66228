"""Readers and other writers, while a bundle is replaced."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from lightning_esp.bundle import disk, read_both, write_bundle
from lightning_esp.bundle.directory import replace_directory
from lightning_esp.bundle.reader import unless_replaced
from lightning_esp.errors import BundleError, OutputDirectoryError
from tests.bundle import handmade
from tests.support.replacing import project


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
