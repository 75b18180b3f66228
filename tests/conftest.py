"""Fixtures that more than one folder of tests shares."""

from collections.abc import Callable, Iterator

import pytest
import torch

from lightning_esp.quantization import Worker
from tests.models.built import Built, build_case


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Small tensors gain nothing from several threads, and lose where several tests run at once."""
    torch.set_num_threads(1)


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
