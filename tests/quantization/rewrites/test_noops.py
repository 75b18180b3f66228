"""Operators that do nothing leave the graph, and what looks like them stays."""

from collections.abc import Callable

import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_esp.quantization.rewrites import rewrite
from tests.quantization.rewrites.written import assert_same, types


class _Of(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def frames(*shape: int) -> Tensor:
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))


def graph(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]], **constants: list[int]) -> onnx.ModelProto:
    """Relu, the node, Relu: torch and the simplifier fold much of this themselves."""
    nodes = [helper.make_node("Relu", ["x"], ["a"], "/first"), node, helper.make_node("Relu", ["b"], ["y"], "/last")]
    values = {n: helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()}
    stored = [numpy_helper.from_array(torch.tensor(v).numpy(), n) for n, v in constants.items()]
    made = helper.make_graph(nodes, "g", [values["x"]], [values["y"]], stored)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)])


NOTHING = {
    "concat": graph(helper.make_node("Concat", ["a"], ["b"], axis=1), {"x": (1, 3, 4), "y": (1, 3, 4)}),
    "slice": graph(
        helper.make_node("Slice", ["a", "s", "e", "n"], ["b"]),
        {"x": (1, 3, 4), "y": (1, 3, 4)},
        s=[0],
        e=[2**40],
        n=[2],
    ),
    "transpose of ones": graph(
        helper.make_node("Transpose", ["a"], ["b"], perm=[0, 1, 3, 2]), {"x": (1, 3, 1, 1), "y": (1, 3, 1, 1)}
    ),
    "reshape": graph(helper.make_node("Reshape", ["a", "s"], ["b"]), {"x": (1, 3, 4), "y": (1, 3, 4)}, s=[1, 3, -1]),
    "expand": graph(helper.make_node("Expand", ["a", "s"], ["b"]), {"x": (1, 3, 4), "y": (1, 3, 4)}, s=[1, 4]),
    "tile": graph(helper.make_node("Tile", ["a", "s"], ["b"]), {"x": (1, 3, 4), "y": (1, 3, 4)}, s=[1, 1, 1]),
    "pad": graph(helper.make_node("Pad", ["a", "s"], ["b"]), {"x": (1, 3), "y": (1, 3)}, s=[0, 0, 0, 0]),
    "cast": graph(helper.make_node("Cast", ["a"], ["b"], to=TensorProto.FLOAT), {"x": (1, 3), "y": (1, 3)}),
    "mean of one": graph(
        helper.make_node("ReduceMean", ["a", "s"], ["b"], keepdims=1), {"x": (1, 3, 1), "y": (1, 3, 1)}, s=[2]
    ),
    "gather": graph(helper.make_node("Gather", ["a", "s"], ["b"], axis=1), {"x": (1, 3), "y": (1, 3)}, s=[0, 1, 2]),
    "pool": graph(
        helper.make_node("MaxPool", ["a"], ["b"], kernel_shape=[1], strides=[1]), {"x": (1, 3, 4), "y": (1, 3, 4)}
    ),
    "clip": graph(helper.make_node("Clip", ["a"], ["b"]), {"x": (1, 3), "y": (1, 3)}),
    "blocks": graph(
        helper.make_node("DepthToSpace", ["a"], ["b"], blocksize=1), {"x": (1, 3, 2, 2), "y": (1, 3, 2, 2)}
    ),
}

SOMETHING = {
    "shift": graph(helper.make_node("Pad", ["a", "s"], ["b"]), {"x": (1, 3), "y": (1, 3)}, s=[0, 1, 0, -1]),
    "flip": graph(
        helper.make_node("Slice", ["a", "s", "e", "n", "d"], ["b"]),
        {"x": (1, 3), "y": (1, 3)},
        s=[-1],
        e=[-(2**40)],
        n=[1],
        d=[-1],
    ),
    "square transpose": graph(
        helper.make_node("Transpose", ["a"], ["b"], perm=[0, 2, 1]), {"x": (1, 3, 3), "y": (1, 3, 3)}
    ),
    "batch behind time": graph(
        helper.make_node("Transpose", ["a"], ["b"], perm=[1, 0, 2]), {"x": (1, 1, 3), "y": (1, 1, 3)}
    ),
    "border of a pool": graph(
        helper.make_node("MaxPool", ["a"], ["b"], kernel_shape=[1], strides=[2], pads=[1, 1]),
        {"x": (1, 3, 3), "y": (1, 3, 3)},
    ),
    "bound": graph(helper.make_node("Clip", ["a", "s"], ["b"]), {"x": (1, 3), "y": (1, 3)}),
}
SOMETHING["bound"].graph.initializer.append(numpy_helper.from_array(torch.tensor(0.5).numpy(), "s"))


@pytest.mark.parametrize("name", NOTHING)
def test_what_does_nothing_is_folded_away(name: str) -> None:
    assert types(rewrite(NOTHING[name])) == ["Relu", "Relu"]


@pytest.mark.parametrize("name", SOMETHING)
def test_what_keeps_the_shape_and_changes_values_stays(name: str) -> None:
    assert types(rewrite(SOMETHING[name])) == types(SOMETHING[name])


def test_a_list_of_one_frame_is_no_concat() -> None:
    model = assert_same(_Of(lambda x: torch.cat([torch.tanh(x[..., t : t + 1]) for t in range(1)], 2)), frames(3, 1))
    assert types(model) == ["Tanh"]


def test_parts_without_elements_are_left_out() -> None:
    assert types(assert_same(_Of(lambda x: torch.cat([x[..., :0], torch.tanh(x)], 2)), frames(3, 2))) == ["Tanh"]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.relu(torch.tanh(x).unsqueeze(1).squeeze(1)),
        lambda x: torch.relu(torch.tanh(x).reshape(1, 12).reshape(1, 3, 4)),
        lambda x: torch.relu(torch.tanh(x).transpose(1, 2).transpose(1, 2)),
        lambda x: torch.relu(torch.tanh(x).reshape(1, 3, 2, 2).permute(0, 2, 3, 1).permute(0, 3, 1, 2).flatten(2)),
        lambda x: torch.relu(torch.tanh(x) * torch.ones(3, 1) + torch.zeros(4)),
    ],
)
def test_pairs_and_neutral_constants_go(function: Callable[[Tensor], Tensor]) -> None:
    assert types(assert_same(_Of(function), frames(3, 4))) == ["Tanh", "Relu"]


def test_a_neutral_constant_that_widens_stays() -> None:
    assert "Add" in types(assert_same(_Of(lambda x: torch.tanh(x) + torch.zeros(1, 3, 4)), frames(3, 1)))


def test_names_of_inputs_and_outputs_stay() -> None:
    # `rewritten` holds the names; of an input that is an output a view is left, of a result nothing.
    assert types(assert_same(_Of(lambda x: F.pad(x, (0, 0))), frames(3, 4))) in (["Reshape"], ["Identity"])
    assert types(assert_same(_Of(lambda x: torch.tanh(x).reshape(1, 12).reshape(1, 3, 4)), frames(3, 4))) == ["Tanh"]
