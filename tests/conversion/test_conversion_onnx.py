"""The converted graph as ONNX: the form that is right on the chip, with the names of the user's modules."""

import io
import warnings
from collections import Counter

import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_esp.config import Streaming
from lightning_esp.conversion import StreamingModel, convert
from lightning_esp.conversion.onnx_scopes import located
from tests.models.architectures import NAMED
from tests.models.contracts import TwoCaches
from tests.models.pieces import CausalConv, Function


def exported(model: StreamingModel) -> onnx.GraphProto:
    (stage,) = model.spec.stages
    arguments = tuple(torch.zeros(shape.shape) for shape in (*stage.inputs, *stage.caches))
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            located(model.stages[0]), arguments, file, input_names=list(stage.input_names),
            output_names=list(stage.output_names), opset_version=18, dynamo=False,
        )  # fmt: skip
    return onnx.load_from_string(file.getvalue()).graph


def streaming(name: str) -> StreamingModel:
    named = NAMED[name]
    return convert(named.make().eval(), named.recording(24).float(), Streaming(time_axis=named.axis))


@pytest.mark.parametrize("name", NAMED)
def test_a_cached_layer_costs_one_concat_and_one_slice(name: str) -> None:
    model = streaming(name)
    types = Counter(node.op_type for node in exported(model).node)
    sliding = [c for c in model.spec.caches if "hidden" not in c.name and "cell" not in c.name]
    joins = {"densenet": 4, "unet": 1, "denoiser": 2}.get(name, 0)
    assert types["Concat"] == len(sliding) + joins
    # A slice more for each crop of a transposed conv, and two for a gate.
    assert types["Slice"] == len(sliding) + {"unet": 2, "denoiser": 2, "conformer": 4, "masked_codec": 1}.get(name, 0)
    assert not set(types) & {"Split", "Pad", "Shape", "Gather", "Loop", "If", "ScatterND", "Expand", "MatMul"} - (
        {"MatMul"} if name == "squeeze_excite" else set()
    )


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_recurrent_layers_stand_alone_and_are_fed_their_state(name: str) -> None:
    graph = exported(streaming(name))
    layers = [node for node in graph.node if node.op_type == name.upper()]
    assert len(layers) == {"gru": 2, "lstm": 3}[name]
    for node in layers:
        states = node.input[5:] if name == "gru" else node.input[5:7]
        assert all(states)
        assert all(a.s in (b"", b"forward") for a in node.attribute if a.name == "direction")


def test_inputs_and_outputs_keep_our_names() -> None:
    model = streaming("tc_resnet")
    graph = exported(model)
    assert [value.name for value in graph.input] == list(model.spec.stages[0].input_names)
    assert [value.name for value in graph.output] == list(model.spec.stages[0].output_names)


def test_operators_are_named_by_their_module() -> None:
    names = {node.op_type: node.name for node in exported(streaming("tc_resnet")).node}
    assert names["Add"] == "/2/Add"
    assert names["Relu"].startswith("/2.act")
    convs = [node.name for node in exported(streaming("tc_resnet")).node if node.op_type == "Conv"]
    assert "/1.shortcut.0/Conv" in convs
    assert "/2.second/Conv" in convs


def test_located_computes_the_same_and_leaves_other_modules_alone() -> None:
    model = streaming("wavenet")
    (stage,) = model.spec.stages
    arguments = [torch.randn(shape.shape) for shape in (*stage.inputs, *stage.caches)]
    with torch.no_grad():
        for a, b in zip(located(model.stages[0])(*arguments), model.stages[0](*arguments), strict=True):
            assert torch.equal(a, b)
    other = nn.Linear(2, 2)
    assert located(other) is other


def test_gates_and_chunks_are_slices_and_linear_over_time_is_a_conv() -> None:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        a, b = F.glu(m.conv(x), dim=1).chunk(2, dim=1)  # type: ignore[operator]
        return m.linear((a * b).transpose(1, 2))  # type: ignore[operator]

    module = Function(forward, conv=CausalConv(3, 8, 2), linear=nn.Linear(2, 3)).eval()
    types = Counter(node.op_type for node in exported(convert(module, torch.randn(1, 3, 20))).node)
    assert types["Split"] == 0
    assert types["Gemm"] + types["MatMul"] == 0
    assert types["Conv"] == 2


def test_no_shape_depends_on_the_batch() -> None:
    # The integer executor runs several recordings at once through a graph that was traced with one.
    for name in NAMED:
        for node in exported(streaming(name)).node:
            if node.op_type == "Reshape":
                assert node.input[1]
        model = streaming(name)
        window = torch.randn(3, *model.spec.inputs[0].shape[1:])
        output, caches = model.step(window, model.initial_caches(3))
        assert isinstance(output, Tensor)
        assert output.shape[0] == 3
        assert all(value.shape[0] == 3 for value in caches.values())


def test_a_hand_written_submodule_is_exported_with_the_rest() -> None:
    model = convert(nn.Sequential(CausalConv(8, 8, 3), TwoCaches(), nn.ReLU()).eval(), torch.randn(1, 8, 20))
    types = Counter(node.op_type for node in exported(model).node)
    assert types["Concat"] == 3
    assert types["Conv"] >= 3
