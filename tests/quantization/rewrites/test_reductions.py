"""Reductions over many runs of axes become several of few runs each, and compute the same."""

from collections.abc import Callable
from itertools import groupby

import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from lightning_esp.quantization.rewrites.reductions import LARGEST_RUNS
from tests.quantization.rewrites.written import assert_same


class _Reduce(nn.Module):
    def __init__(self, function: Callable[..., Tensor], axes: tuple[int, ...], keep: bool) -> None:
        super().__init__()
        self.function, self.axes, self.keep = function, axes, keep

    def forward(self, x: Tensor) -> Tensor:
        return self.function(torch.tanh(x), self.axes, self.keep)


def frames(*shape: int) -> Tensor:
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))


def runs(model: onnx.ModelProto) -> list[int]:
    """How often reduced and kept axes alternate in every reduction of a graph."""
    stored = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    values = [*model.graph.value_info, *model.graph.input, *model.graph.output]
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in values}
    nodes = [node for node in model.graph.node if node.op_type.startswith("Reduce")]
    axes = [(stored[node.input[1]] % ranks[node.input[0]], ranks[node.input[0]]) for node in nodes]
    return [len(list(groupby(axis in found for axis in range(rank)))) for found, rank in axes]


@pytest.mark.parametrize("function", [torch.mean, torch.sum, torch.amax, torch.amin])
@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("axes", [(1, 3), (0, 2, 4), (1, 3, 5), (1, 4), (1, -2), (1, 2, 4)])
def test_split_reductions_compute_the_same(function: Callable[..., Tensor], keep: bool, axes: tuple[int, ...]) -> None:
    model = assert_same(_Reduce(function, axes, keep), frames(2, 3, 4, 2, 3))
    assert runs(model)
    assert max(runs(model)) <= LARGEST_RUNS


def test_few_runs_stay_one_reduction() -> None:
    for axes in ((1, 3), (2,), (1, 2), (3,)):
        assert len(runs(assert_same(_Reduce(torch.mean, axes, False), frames(2, 3, 4)))) == 1
