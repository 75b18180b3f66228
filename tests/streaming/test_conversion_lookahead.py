"""Look-ahead that is allowed: it costs a delay, branches are aligned, and only frames at the edges may differ."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_esp.config import Streaming
from lightning_esp.streaming import convert
from tests.models.random_architectures import CausalConv, Function, randomise


class SymmetricBlock(nn.Module):
    """A residual around a symmetric conv: the skip must wait for the conv."""

    def __init__(self, channels: int, kernel: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, kernel, dilation=dilation, padding=(kernel - 1) * dilation // 2)
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.norm(self.conv(x))) + x


class Mixed(nn.Module):
    """Branches of look-ahead 3, 1 and 0, joined."""

    def __init__(self) -> None:
        super().__init__()
        self.far, self.near = nn.Conv1d(3, 3, 7, padding=3), nn.Conv1d(3, 3, 3, padding=1)
        self.causal = CausalConv(3, 3, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.far(x), torch.relu(self.near(x)), self.causal(x)], dim=1)


def strided() -> nn.Module:
    return nn.Sequential(nn.Conv1d(3, 4, 5, stride=2, padding=2), nn.Tanh(), SymmetricBlock(4, 3))


def peek() -> nn.Module:
    return Function(lambda m, x: m.conv(F.pad(x, (4, 2))), conv=nn.Conv1d(3, 3, 7))


# Look-ahead in input frames, and delay in output frames.
CASES = {
    "one conv": (lambda: nn.Conv1d(3, 3, 5, padding=2), 2, 2),
    "residuals": (lambda: nn.Sequential(SymmetricBlock(3, 3), SymmetricBlock(3, 5, 2)), 5, 5),
    "branches": (Mixed, 3, 3),
    "strided": (strided, 3, 2),
    "some of both": (peek, 2, 2),
    "before a causal one": (lambda: nn.Sequential(SymmetricBlock(3, 3), CausalConv(3, 3, 4, dilation=2)), 1, 1),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("strides", [1, 3])
def test_frames_inside_the_recording_are_exact(name: str, strides: int) -> None:
    make, frames, delay = CASES[name]
    module = randomise(nn.Sequential(make()), 0)
    example = torch.randn(1, 3, 40, dtype=torch.float64)
    stride = convert(module, example, Streaming(lookahead=frames)).spec.stride
    model = convert(module, example, Streaming(lookahead=frames, window=strides * stride))
    assert model.delay == delay
    recording = torch.randn(2, 3, 61, dtype=torch.float64)
    with torch.no_grad():
        offline, streamed = module(recording), model.run(recording)
    assert isinstance(streamed, Tensor)
    assert streamed.shape == offline.shape
    differing = ((streamed - offline).abs().amax((0, 1)) > 1e-10).nonzero().flatten().tolist()
    assert model.receptive_field is not None
    assert len(differing) <= model.receptive_field
    # Which frames touch the edges is asked of the gradient of the offline model.
    assert set(differing) <= at_the_edges(module, recording.shape[2], model.receptive_field)


def at_the_edges(module: nn.Module, frames: int, field: int) -> set[int]:
    recording = torch.randn(1, 3, frames, dtype=torch.float64, requires_grad=True)
    output = module(recording)
    found = set()
    for frame in range(output.shape[2]):
        (gradient,) = torch.autograd.grad(output[..., frame].sum(), recording, retain_graph=True)
        touched = gradient.abs().amax((0, 1)).nonzero().flatten()
        if int(touched[-1] - touched[0]) + 1 < field:
            found.add(frame)
    return found


def test_one_symmetric_conv_is_exact_to_the_last_frame() -> None:
    # Zero frames flush the delay, and they are just what the conv pads with.
    module = randomise(nn.Sequential(nn.Conv1d(3, 3, 5, padding=2)), 0)
    recording = torch.randn(1, 3, 30, dtype=torch.float64)
    model = convert(module, recording, Streaming(lookahead=2))
    with torch.no_grad():
        streamed = model.run(recording)
        assert isinstance(streamed, Tensor)
        assert float((streamed - module(recording)).abs().max()) < 1e-10


def test_a_causal_model_gains_no_delay_from_the_permission() -> None:
    module = randomise(nn.Sequential(CausalConv(3, 3, 5)), 0)
    assert convert(module, torch.randn(1, 3, 30, dtype=torch.float64), Streaming(lookahead=9)).delay == 0
