"""Fixtures that more than one folder of tests shares."""

import importlib
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import IO

import pytest
import torch

from lightning_esp import Bundle, export
from lightning_esp.quantization import Worker, process
from tests.cpp import object_cache
from tests.forked_worker import Nursery
from tests.models.built import Built, build_case
from tests.models.contracts import CASES


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Small tensors gain nothing from several threads, and lose where several tests run at once."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _forked_workers() -> Iterator[None]:
    """Fork the workers of exports: each has a clean process of its own, and none imports esp-ppq anew."""
    nurseries: list[Nursery] = []

    def launch(complaints: IO[bytes]) -> subprocess.Popen[bytes]:
        if not nurseries:
            nurseries.append(Nursery())
        return nurseries[0].launch(complaints)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "launch", launch)
        yield
    for nursery in nurseries:
        nursery.close()


@pytest.fixture(scope="session", autouse=True)
def _compiled_objects(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One folder of compiled C++ for all processes of this run: most programs are made of the same components."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "objects"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(object_cache.FOLDER, str(folder))
        yield


@pytest.fixture(scope="session")
def worker() -> Iterator[Worker]:
    """One esp-ppq process for all tests: importing it costs more than quantizing a small model."""
    with Worker() as running:
        yield running


@pytest.fixture(scope="session")
def build(worker: Worker) -> Callable[..., Built]:
    """Convert, calibrate and quantize a case of `tests.models.contracts`, once for each set of arguments."""
    found: dict[tuple[str, ...], Built] = {}

    def get(name: str, precision: str = "int8", target: str = "esp32s3", caches: str = "explicit") -> Built:
        key = (name, precision, target, caches)
        if key not in found:
            found[key] = build_case(*key, worker)
        return found[key]

    return get


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The small tutorial model, exported for two chips; read only."""
    case = CASES["tutorial"]
    path = tmp_path_factory.mktemp("bundles") / "tutorial"
    return export(case.module(), case.recordings(40, 41, 24, 7), path, ("esp32s3", "esp32p4"), case.streaming)


@pytest.fixture
def quick(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports of this test share the worker of the session."""
    monkeypatch.setattr(importlib.import_module("lightning_esp.pipeline"), "Worker", lambda: nullcontext(worker))
