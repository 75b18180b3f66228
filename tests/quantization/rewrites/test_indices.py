"""Bounds of slices lie inside the tensor, and axes are counted from the front."""

from collections.abc import Callable

import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from lightning_esp.quantization.rewrites import rewrite
from tests.quantization.rewrites.written import assert_same


class _Of(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.tanh(x)[..., -10:-2],
        lambda x: torch.tanh(x)[:, -2:, -10:7],
        lambda x: torch.tanh(x)[..., 1::3],
        lambda x: torch.tanh(x)[..., -1:],
    ],
)
def test_slices_lie_inside_their_tensor(function: Callable[[Tensor], Tensor]) -> None:
    model = assert_same(_Of(function), torch.randn(1, 3, 8, generator=torch.Generator().manual_seed(0)))
    stored = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    slices = [node for node in model.graph.node if node.op_type == "Slice"]
    bounds = [stored[name] for node in slices for name in node.input[1:3]]
    assert bounds
    assert all(((values >= 0) & (values <= 8)).all() for values in bounds)


def test_a_whole_axis_is_turned_around_from_its_last_element() -> None:
    x = torch.randn(1, 3, 8, generator=torch.Generator().manual_seed(0))
    model = assert_same(_Of(lambda x: x + torch.tanh(x).flip((1, 2))), x)
    stored = {item.name: numpy_helper.to_array(item).tolist() for item in model.graph.initializer}
    slices = [node for node in model.graph.node if node.op_type == "Slice"]
    bounds = [(stored[node.input[1]], stored[node.input[2]]) for node in slices]
    assert bounds in ([([-1, -1], [-4, -9])], [([-1], [-4]), ([-1], [-9])])


def test_several_negative_axes_are_counted_from_the_result() -> None:
    node = helper.make_node("Unsqueeze", ["x", "axes"], ["y"], name="/u")
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", (1, 3)), ("y", (1, 1, 3, 1)))
    ]
    stored = [numpy_helper.from_array(torch.tensor([-1, -3]).numpy(), "axes")]
    model = helper.make_model(
        helper.make_graph([node], "g", values[:1], values[1:], stored), opset_imports=[helper.make_opsetid("", 18)]
    )
    after = rewrite(model)
    name = after.graph.node[0].input[1]
    assert [list(numpy_helper.to_array(item)) for item in after.graph.initializer if item.name == name] == [[3, 1]]
