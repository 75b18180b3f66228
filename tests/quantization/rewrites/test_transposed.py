"""Transposed convolutions are written so that esp-ppq has neither a dilation nor a padding to get wrong."""

import pytest
import torch
from torch import nn

from tests.quantization.rewrites.written import assert_same, evaluate, rewritten, types, written

LAYERS = {
    "dilated": nn.ConvTranspose1d(6, 4, 3, dilation=2),
    "dilated and cut": nn.ConvTranspose1d(6, 4, 3, dilation=3, padding=2),
    "dilated, with a stride": nn.ConvTranspose1d(6, 4, 3, dilation=2, stride=2, output_padding=1),
    "depthwise": nn.ConvTranspose1d(6, 6, 4, dilation=2, groups=6),
    "in groups": nn.ConvTranspose1d(6, 4, 3, groups=2, padding=1),
    "more output without a stride": nn.ConvTranspose1d(6, 4, 3, dilation=2, output_padding=1),
    "cut by more than the kernel": nn.ConvTranspose1d(6, 4, 2, padding=3),
    "cut by more than the kernel, with a stride": nn.ConvTranspose1d(6, 4, 2, stride=2, padding=3, output_padding=1),
    "kernel of one": nn.ConvTranspose1d(6, 4, 1, bias=False),
}


def frames(*shape: int) -> torch.Tensor:
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", LAYERS)
def test_it_computes_what_it_did(name: str) -> None:
    model = assert_same(LAYERS[name], frames(6, 11))
    for node in model.graph.node:
        if node.op_type == "ConvTranspose":
            options = {item.name: list(item.ints) for item in node.attribute}
            assert options.get("dilations", [1]) == [1]
            assert all(kernel > pad for kernel in options["kernel_shape"] for pad in options["pads"])


@pytest.mark.parametrize(
    "layer",
    [
        nn.ConvTranspose2d(6, 4, (1, 3), stride=(1, 2), padding=(0, 1), output_padding=(0, 1)),
        nn.ConvTranspose2d(6, 4, (3, 3), stride=(1, 2), dilation=(2, 3)),
        nn.ConvTranspose2d(6, 6, (2, 3), dilation=(2, 1), groups=6),
        nn.ConvTranspose2d(6, 4, (2, 3), stride=(1, 2), dilation=(1, 2), output_padding=(0, 1), padding=(0, 5)),
    ],
)
def test_two_axes(layer: nn.Module) -> None:
    assert_same(layer, frames(6, 5, 9))


def test_without_a_stride_it_is_a_convolution() -> None:
    assert types(rewritten(LAYERS["dilated"], frames(6, 11))) == ["Conv"]


def test_a_plain_one_stays() -> None:
    layer = nn.ConvTranspose1d(6, 4, 4, stride=2, padding=1)
    before, after = written(layer, frames(6, 11)), rewritten(layer, frames(6, 11))
    assert types(after) == types(before) == ["ConvTranspose"]
    assert torch.equal(evaluate(before, [frames(6, 11)]), evaluate(after, [frames(6, 11)]))
