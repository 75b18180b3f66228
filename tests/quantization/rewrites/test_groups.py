"""Only depthwise convolutions keep their groups once they are rewritten."""

import onnx
import pytest
import torch
from torch import nn

from lightning_esp import Quantization, Streaming
from lightning_esp.quantization import Worker
from lightning_esp.quantization.onnx_graph import module_path
from tests.models.pieces import randomise
from tests.models.proved import KEEP_RANGE, prove
from tests.quantization.rewrites.written import assert_same, rewritten, types

GROUPED = {
    "two groups": nn.Conv1d(4, 6, 3, groups=2, dilation=2),
    "two outputs per channel": nn.Conv2d(3, 6, (2, 3), groups=3, stride=(1, 2), padding=(1, 0)),
    "without bias": nn.Conv2d(4, 4, 1, groups=2, bias=False),
    "transposed": nn.ConvTranspose1d(4, 6, 4, stride=2, groups=2),
    "transposed, two outputs per channel": nn.ConvTranspose2d(3, 6, (1, 3), stride=(1, 2), groups=3),
}


def frames(*shape: int) -> torch.Tensor:
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))


def groups(model: onnx.ModelProto) -> list[int]:
    return [item.i for node in model.graph.node for item in node.attribute if item.name == "group"]


@pytest.mark.parametrize("name", GROUPED)
def test_groups_become_zeros_between_them(name: str) -> None:
    layer = GROUPED[name]
    shape = (layer.in_channels, 9) if len(layer.kernel_size) == 1 else (layer.in_channels, 4, 9)
    model = assert_same(layer, frames(*shape))
    assert groups(model) == [1]
    assert [module_path(node.name, ["stage_0"]) for node in model.graph.node] == ["block"]


def test_depthwise_layers_stay() -> None:
    for layer in (nn.Conv1d(4, 4, 3, groups=4), nn.ConvTranspose1d(4, 4, 3, groups=4)):
        model = rewritten(layer, frames(4, 9))
        assert groups(model) == [4]
        assert len(types(model)) == 1


@pytest.mark.parametrize("precision", ["int8", "int16"])
def test_grouped_layers_pass_all_proofs(worker: Worker, precision: str) -> None:
    module = nn.Sequential(
        nn.ConstantPad1d((4, 0), 0.0),
        nn.Conv1d(8, 16, 3, dilation=2, groups=2),
        nn.ReLU(),
        nn.Conv1d(16, 8, 1, groups=4),
    )
    recordings = [frames(8, n)[0] for n in (40, 24)]
    quantization = Quantization(precision=precision, method=KEEP_RANGE.method)  # type: ignore[arg-type]
    prove(randomise(module, 0).float(), recordings, worker, Streaming(window=2), 25.0, quantization)
