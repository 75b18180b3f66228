"""AveragePool divides by the size of its kernel everywhere once it is rewritten."""

import pytest
import torch
from torch import nn

from lightning_esp.quantization.onnx_graph import module_path
from tests.quantization.rewrites.written import assert_same, rewritten, types, written

POOLS = {
    "edges": nn.AvgPool2d((1, 3), stride=1, padding=(0, 1), count_include_pad=False),
    "both axes": nn.AvgPool2d((3, 5), stride=(2, 3), padding=(1, 2), count_include_pad=False),
    "over the edge": nn.AvgPool2d((2, 4), stride=(2, 3), ceil_mode=True),
    "padding over the edge": nn.AvgPool2d(4, stride=3, padding=2, ceil_mode=True),
    "edges over the edge": nn.AvgPool2d(4, stride=3, padding=1, ceil_mode=True, count_include_pad=False),
}


def frames(*shape: int) -> torch.Tensor:
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("length", [8, 9, 10, 11])
def test_sums_over_padding_are_divided_by_what_onnx_says(name: str, length: int) -> None:
    model = assert_same(POOLS[name], frames(3, 7, length))
    pools = [node for node in model.graph.node if node.op_type == "AveragePool"]
    # All pads count from here on, and no kernel hangs over.
    options = [{item.name: item.i for item in node.attribute} for node in pools if "Mul" in types(model)]
    assert all(found["count_include_pad"] == 1 and "ceil_mode" not in found for found in options)


def test_one_axis() -> None:
    for length in (9, 10, 11):
        assert_same(nn.AvgPool1d(4, 3, 1, ceil_mode=True, count_include_pad=False), frames(3, length))


def test_a_pool_that_divides_by_its_kernel_stays() -> None:
    for pool in (nn.AvgPool2d((1, 3), padding=(0, 1)), nn.AvgPool2d(2), nn.AvgPool2d(2, ceil_mode=True)):
        assert "Mul" not in types(rewritten(pool, frames(3, 8, 10)))


def test_new_nodes_keep_the_path_of_the_module() -> None:
    pool = POOLS["edges"]
    before, model = written(pool, frames(3, 7, 9)), rewritten(pool, frames(3, 7, 9))
    paths = [module_path(node.name, ["stage_0"]) for node in model.graph.node]
    assert paths == ["block"] * 2
    assert "Mul" not in types(before)
