"""Batch norms that no layer takes in, and layer norms over several axes."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_esp import Quantization, Streaming, export, simulate
from lightning_esp.quantization.onnx_graph import module_path
from tests.models.tutorial_tcn import shake
from tests.quantization.rewrites.written import assert_same, rewritten, types


def frames(*shape: int) -> Tensor:
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))


def norm(channels: int, rank: int = 1, affine: bool = True) -> nn.Module:
    kind = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}[rank]
    return shake(kind(channels, affine=affine)).eval()


class Turned(nn.Module):
    """A batch norm of `[batch, time, channels]`."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = norm(5)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.transpose(1, 2)).transpose(1, 2)


class Read(nn.Module):
    """A convolution that something else reads too, in front of the norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(5, 5, 1), norm(5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.norm(y) * torch.sigmoid(y)


APART = {
    "input": (norm(5), (5, 7)),
    "without affine": (norm(5, affine=False), (5, 7)),
    "behind a ReLU": (nn.Sequential(nn.Conv1d(5, 5, 1), nn.ReLU(), norm(5)), (5, 7)),
    "image": (nn.Sequential(norm(3, 2), nn.Conv2d(3, 2, 1)), (3, 6, 7)),
    "channels last": (Turned(), (7, 5)),
    "read twice": (Read(), (5, 7)),
    "one channel": (norm(1, 2), (1, 6, 7)),
}


@pytest.mark.parametrize("name", APART)
def test_a_batch_norm_becomes_a_scale_and_shift_per_channel(name: str) -> None:
    module, shape = APART[name]
    found = types(assert_same(module, frames(*shape)))
    assert "BatchNormalization" not in found
    assert "Conv" in found


def test_a_batch_norm_of_a_vector_becomes_a_product_and_a_sum() -> None:
    assert types(assert_same(norm(5), frames(5))) == ["Mul", "Add"]


def test_a_batch_norm_behind_a_layer_is_left_to_it() -> None:
    for layer, shape in (
        (nn.Conv1d(5, 5, 1), (5, 7)),
        (nn.ConvTranspose1d(5, 5, 2, 2), (5, 7)),
        (nn.Linear(5, 5), (5,)),
    ):
        found = types(rewritten(nn.Sequential(layer, norm(5)), frames(*shape)))
        assert "Mul" not in found
        assert found.count("Conv") <= 1


LAYERS = {
    "two axes": (nn.LayerNorm((4, 5)), (7, 4, 5)),
    "three axes": (nn.LayerNorm((3, 4, 5)), (3, 4, 5)),
    "no bias": (nn.LayerNorm((4, 5), bias=False), (7, 4, 5)),
    "no affine": (nn.LayerNorm((4, 5), elementwise_affine=False, eps=1e-3), (7, 4, 5)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_norm_over_several_axes_runs_over_one(name: str) -> None:
    layer, shape = LAYERS[name]
    model = assert_same(shake(layer), frames(*shape))
    assert types(model) == ["Reshape", "LayerNormalization", "Reshape"]
    (found,) = (node for node in model.graph.node if node.op_type == "LayerNormalization")
    assert next(item.i for item in found.attribute if item.name == "axis") == -1
    assert {module_path(node.name, ["stage_0"]) for node in model.graph.node} == {"block"}


def test_a_layer_norm_over_one_axis_stays() -> None:
    assert types(rewritten(nn.LayerNorm(5), frames(7, 5))) == ["LayerNormalization"]


class ByHand(nn.Module):
    """Norms on the input, behind a ReLU and over channels and bins, on `[batch, channels, time, bins]`, with a contract."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.conv, self.second = norm(2, 2), nn.Conv2d(2, 4, (3, 1)), norm(4, 2)
        self.last = shake(nn.LayerNorm((4, 5)))

    def tail(self, whole: Tensor) -> Tensor:
        y = self.second(F.relu(self.conv(whole)))
        return self.last(y.transpose(1, 2)).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(F.pad(self.first(x), (0, 0, 2, 0)))

    def streaming_forward(self, x: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        whole = torch.cat([cache, self.first(x)], 2)
        return self.tail(whole), whole[:, :, -2:]

    def streaming_caches(self) -> dict[str, tuple[int, ...]]:
        return {"cache": (2, 2, 5)}


@pytest.mark.parametrize(("precision", "floor"), [("int8", 20.0), ("int16", 60.0)])
def test_norms_everywhere_pass_all_proofs(tmp_path: Path, precision: str, floor: float) -> None:
    torch.manual_seed(0)
    module = ByHand().eval()
    recordings = [torch.randn(2, n, 5) for n in (40, 30)]
    options = Quantization(precision=precision)  # type: ignore[arg-type]
    bundle = export(module, recordings, tmp_path / "b", streaming=Streaming(time_axis=2), quantization=options)
    with torch.no_grad():
        expected = module(recordings[0][None])[0]
    gap = (simulate(bundle, recordings[0]) - expected).square().sum()
    assert 10 * torch.log10(expected.square().sum() / gap) > floor
