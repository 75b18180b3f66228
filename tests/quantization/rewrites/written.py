"""A module as ONNX, rewritten, and what the rewritten graph computes."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence

import onnx
import torch
from onnx.reference import ReferenceEvaluator
from onnxsim import simplify
from torch import Tensor, nn

from lightning_esp.quantization.onnx_graph import OPSET
from lightning_esp.quantization.rewrites import rewrite


class _Stage(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.block = module

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.block(*inputs)


class _Stages(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.stages = nn.ModuleList([_Stage(module)])

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.stages[0](*inputs)


def written(module: nn.Module, *inputs: Tensor) -> onnx.ModelProto:
    """The graph of a module, simplified, before it is rewritten. It stands in stage 0 under the path `block`."""
    data = io.BytesIO()
    names = [f"x{index}" for index in range(len(inputs))]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Stages(module).eval(),
            inputs,
            data,
            input_names=names,
            output_names=["y"],
            opset_version=OPSET,
            dynamo=False,
        )
    model, checked = simplify(onnx.load_from_string(data.getvalue()))
    assert checked
    return model


def rewritten(module: nn.Module, *inputs: Tensor) -> onnx.ModelProto:
    """The graph of a module, rewritten and valid."""
    before = written(module, *inputs)
    model = rewrite(before)
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.input] == [value.name for value in before.graph.input]
    assert [value.name for value in model.graph.output] == ["y"]
    assert len({node.name for node in model.graph.node}) == len(model.graph.node)
    return model


def evaluate(model: onnx.ModelProto, inputs: Sequence[Tensor]) -> Tensor:
    """Run a graph in the reference implementation of the onnx package."""
    feed = {value.name: tensor.numpy() for value, tensor in zip(model.graph.input, inputs, strict=True)}
    return torch.from_numpy(ReferenceEvaluator(model).run(None, feed)[0])


def assert_same(module: nn.Module, *inputs: Tensor) -> onnx.ModelProto:
    """Check that a rewritten graph computes what the module does.

    Returns:
        The rewritten graph.
    """
    model = rewritten(module, *inputs)
    with torch.no_grad():
        torch.testing.assert_close(evaluate(model, inputs), module(*inputs), rtol=1e-5, atol=1e-5)
    return model


def types(model: onnx.ModelProto) -> list[str]:
    """The operators of a graph in order."""
    return [node.op_type for node in model.graph.node]
