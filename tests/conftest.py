"""Fixtures that more than one folder of tests shares."""

from collections.abc import Iterator

import pytest
import torch

from lightning_esp.quantization import Worker


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Small tensors gain nothing from several threads, and lose where several tests run at once."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def worker() -> Iterator[Worker]:
    """One esp-ppq process for all tests: importing it costs more than quantizing a small model."""
    with Worker() as running:
        yield running
