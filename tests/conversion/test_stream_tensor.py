"""The receptive field, where some frames between the first and the last one are not read."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_esp.config import Streaming
from lightning_esp.conversion import convert
from tests.models.pieces import CausalConv, Function, randomise


def raised(kernel: int, stride: int, dilation: int = 1) -> nn.Module:
    """A transposed convolution, cut to `stride` output frames per input frame."""
    extent = (kernel - 1) * dilation + 1
    conv = nn.ConvTranspose1d(2, 2, kernel, stride, output_padding=max(0, stride - extent), dilation=dilation)
    return Function(lambda m, x: m.conv(x)[..., : stride * x.shape[-1]], conv=conv)


def spread_maximum() -> nn.Module:
    return Function(lambda m, x: F.max_pool1d(F.pad(x, (9, 0)), 4, stride=1, dilation=3))


MODULES: dict[str, tuple[nn.Module, int]] = {
    # An even frame reads 0, 3, 6 and 9 frames back, and behind 3 and 9 there is no input.
    "a dilated kernel behind a kernel shorter than its stride": (
        nn.Sequential(raised(1, 2), CausalConv(2, 2, 4, dilation=3)), 4),
    "the same without dilation": (nn.Sequential(raised(1, 2), CausalConv(2, 2, 10)), 5),
    "the same behind a kernel as long as its stride": (nn.Sequential(raised(2, 2), CausalConv(2, 2, 4, dilation=3)), 6),
    "a dilated maximum": (nn.Sequential(raised(1, 2), spread_maximum()), 4),
    "a stride of three": (nn.Sequential(raised(1, 3), CausalConv(2, 2, 3, dilation=2)), 1),
    "a dilated transposed kernel": (nn.Sequential(raised(3, 2, 3), CausalConv(2, 2, 2)), 4),
    "a dilated kernel alone": (CausalConv(2, 2, 4, dilation=3), 10),
}  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_the_receptive_field_counts_frames_that_are_read(name: str) -> None:
    module, frames = MODULES[name]
    module = randomise(module, 0)
    model = convert(module, torch.randn(1, 2, 24, dtype=torch.float64), Streaming(time_axis=2))
    assert model.receptive_field == frames
    assert widest(module) == frames


def widest(module: nn.Module) -> int:
    """The same by gradient, over recordings enough for every frame to be the largest in one."""
    recordings = torch.randn(
        32, 2, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    ).requires_grad_()
    output: Tensor = module(recordings)
    spans = []
    for frame in range(output.shape[2] - 12, output.shape[2] - 6):
        (gradient,) = torch.autograd.grad(output[:, :, frame].sum(), recordings, retain_graph=True)
        touched = gradient.abs().amax((0, 1)).nonzero().flatten()
        spans.append(int(touched[-1] - touched[0]) + 1 if len(touched) else 0)
    return max(spans)
