"""One thread for many small steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def single_thread() -> Iterator[None]:
    """Run torch with one thread inside; also a decorator.

    The tensors of a window are too small to be shared out: with several threads a step takes longer, and a hundred times
    as long on a machine whose cores are busy, since every operator waits for all threads.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
