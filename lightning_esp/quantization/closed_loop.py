"""Steps of a quantized graph in esp-ppq's executor, caches fed back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from esp_ppq.executor import TorchExecutor

from lightning_esp.quantization.batches import takes_batches
from lightning_esp.quantization.job import Array
from lightning_esp.quantization.surgery import load_graph

_EXECUTORS: dict[bytes, TorchExecutor] = {}
_TAKES_BATCHES: dict[bytes, bool] = {}


def run(
    graph: bytes, outputs: Sequence[str], windows: Sequence[Mapping[str, Array]], feedback: Mapping[str, str]
) -> list[dict[str, Array]]:
    """Step a quantized graph in closed loop, in esp-ppq's executor.

    Args:
        graph: a pickled quantized graph.
        outputs: tensors to return for each window.
        windows: inputs of each window as float values on the quantization grid, in torch's layout, batch in front;
            the first one holds the initial caches as well.
        feedback: for each cache, the output that is its value in the next window.

    Returns:
        The outputs of each window.
    """
    executor = _executor(graph)
    steps = [{name: torch.from_numpy(np.ascontiguousarray(v)) for name, v in window.items()} for window in windows]
    batch = len(next(iter(steps[0].values())))
    if batch > 1 and graph not in _TAKES_BATCHES:
        _TAKES_BATCHES[graph] = takes_batches(executor, steps[0])
    if batch == 1 or _TAKES_BATCHES[graph]:
        return _run(executor, outputs, steps, feedback)
    alone = [
        _run(executor, outputs, [{n: v[i : i + 1] for n, v in step.items()} for step in steps], feedback)
        for i in range(batch)
    ]
    return [{n: np.concatenate([one[n] for one in ones]) for n in ones[0]} for ones in zip(*alone, strict=True)]


def _run(
    executor: TorchExecutor,
    outputs: Sequence[str],
    windows: Sequence[Mapping[str, torch.Tensor]],
    feedback: Mapping[str, str],
) -> list[dict[str, Array]]:
    wanted = [*dict.fromkeys([*outputs, *feedback.values()])]
    results, caches = [], dict[str, torch.Tensor]()
    for window in windows:
        values = dict(zip(wanted, executor.forward({**window, **caches}, output_names=wanted), strict=True))
        caches = {cache: values[new] for cache, new in feedback.items()}
        results.append({name: values[name].numpy() for name in outputs})
    return results


def _executor(graph: bytes) -> TorchExecutor:
    if graph not in _EXECUTORS:
        _EXECUTORS[graph] = TorchExecutor(graph=load_graph(graph), device="cpu")
    return _EXECUTORS[graph]
