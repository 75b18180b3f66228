"""Bundles of few files that are replaced, and processes that die while they do it."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from lightning_esp.bundle.bundle import SCHEMA
from lightning_esp.bundle.manifest import hash_files, to_json
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


def die_at(number: int, action: Callable[[], object]) -> bool:
    """Tell whether a process that is killed at a file operation has come so far."""
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


STEPS = [pytest.param(7, id="some"), pytest.param(1, id="all", marks=pytest.mark.full)]
