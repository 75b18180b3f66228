"""Products of two activations come in whole blocks of columns or less than one."""

import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from tests.quantization.rewrites.written import assert_same, types


class _Product(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.relu(torch.tanh(a) @ torch.tanh(b))


@pytest.mark.parametrize(
    ("columns", "widths"), [(5, []), (8, []), (16, []), (32, []), (20, [16, 4]), (27, [16, 8, 3]), (40, [32, 8])]
)
def test_columns_are_cut_into_blocks(columns: int, widths: list[int]) -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(1, 3, 4, generator=generator), torch.randn(1, 4, columns, generator=generator)
    model = assert_same(_Product(), a, b)
    assert types(model).count("MatMul") == max(1, len(widths))
    stored = {item.name: int(numpy_helper.to_array(item).reshape(-1)[0]) for item in model.graph.initializer}
    slices = [node for node in model.graph.node if node.op_type == "Slice"]
    assert [stored[node.input[2]] - stored[node.input[1]] for node in slices] == widths


def test_a_product_with_a_stored_matrix_stays_whole() -> None:
    layer = nn.Linear(4, 27, bias=False)
    assert types(assert_same(layer, torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(0)))) == ["MatMul"]
