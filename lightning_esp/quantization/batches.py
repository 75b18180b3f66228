"""Check that a graph of esp-ppq can be run on a batch."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from esp_ppq.executor import TorchExecutor


def takes_batches(executor: TorchExecutor, sample: Mapping[str, torch.Tensor]) -> bool:
    """Tell whether the graph computes a batch of two as it computes each alone (a constant Reshape, say, does not)."""
    two = {name: value[:2] for name, value in sample.items()}
    if any(len(value) < 2 for value in two.values()):
        return False
    try:
        both = executor.forward(two)
        second = executor.forward({name: value[1:2] for name, value in two.items()})
    except Exception:
        return False
    return all(
        len(b) == 2 and torch.allclose(b[1:], s, rtol=1e-4, atol=1e-5) for b, s in zip(both, second, strict=True)
    )
