"""Look-ahead that is allowed: it costs a delay, branches are aligned, and only frames at the edges may differ."""

from collections import Counter
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import Tensor, nn

from lightning_esp.config import Streaming
from lightning_esp.conversion import convert
from lightning_esp.conversion.spec import StreamSpec
from lightning_esp.errors import ConversionError, DataError
from lightning_esp.verification.parity import comparable, float_parity
from tests.models.pieces import CausalConv, Function, randomise
from tests.support.drawing import hold


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


def pooled() -> nn.Module:
    return nn.Sequential(nn.Conv1d(3, 4, 3, padding=1), nn.Tanh(), nn.MaxPool1d(2), SymmetricBlock(4, 3))


def down_and_up() -> nn.Module:
    around = nn.Conv1d(3, 4, 4, stride=2, padding=1), nn.ConvTranspose1d(4, 3, 4, stride=2, padding=1)
    return nn.Sequential(around[0], SymmetricBlock(4, 3), around[1], nn.Conv1d(3, 3, 3, padding=1))


# Look-ahead in input frames, and delay in output frames.
CASES = {
    "one conv": (lambda: nn.Conv1d(3, 3, 5, padding=2), 2, 2),
    "residuals": (lambda: nn.Sequential(SymmetricBlock(3, 3), SymmetricBlock(3, 5, 2)), 5, 5),
    "branches": (Mixed, 3, 3),
    "strided": (strided, 3, 2),
    "pooled": (pooled, 3, 2),
    "down and up": (down_and_up, 6, 6),
    "upsampled": (lambda: nn.Sequential(SymmetricBlock(3, 3), nn.Upsample(scale_factor=2), SymmetricBlock(3, 5)), 2, 4),
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


@st.composite
def pieces(draw: st.DrawFn, channels: int) -> nn.Module:
    """A layer that looks ahead or changes the rate."""
    kernel, dilation = draw(st.sampled_from((3, 5))), draw(st.sampled_from((1, 2)))
    size, stride = draw(st.sampled_from((2, 3))), draw(st.sampled_from((1, 2)))
    makers: list[Callable[[], nn.Module]] = [
        nn.Tanh,
        lambda: nn.Conv1d(channels, channels, kernel),
        lambda: nn.Conv1d(channels, channels, kernel, padding=(kernel - 1) * dilation // 2, dilation=dilation),
        lambda: nn.Conv1d(channels, channels, kernel, padding=kernel // 2, stride=2),
        lambda: nn.Conv1d(channels, channels, kernel, padding=kernel - 1),
        lambda: nn.Conv1d(channels, channels, 2, stride=2),
        lambda: nn.MaxPool1d(size),
        lambda: nn.AvgPool1d(3, stride, 1),
        lambda: nn.Upsample(scale_factor=2),
        lambda: nn.ConvTranspose1d(channels, channels, 4, stride=2, padding=1),
        lambda: nn.ConvTranspose1d(channels, channels, 3, stride=2, padding=1, output_padding=1),
        lambda: SymmetricBlock(channels, kernel),
        lambda: nn.ConstantPad1d((-1, 2), 0.0),
    ]
    return draw(st.sampled_from(makers))()


@st.composite
def stacks(draw: st.DrawFn) -> tuple[nn.Module, int]:
    """Two to six layers, and the frames of a recording; shrinks to two that keep the rate."""
    layers = draw(st.lists(pieces(3), min_size=2, max_size=6))
    seed = draw(st.integers(0, 2**16 - 1))
    return randomise(nn.Sequential(*layers), seed), draw(st.integers(150, 210))


def compared(module: nn.Module, frames: int) -> tuple[Tensor, StreamSpec, tuple[int, int]] | None:
    """Differences by frame, and the frames that must have none; None for what has no streaming form."""
    try:
        model = convert(module, torch.randn(1, 3, 96, dtype=torch.float64), Streaming(lookahead=1000, time_axis=2))
    except ConversionError:
        return None
    recording = torch.randn(1, 3, frames, dtype=torch.float64, generator=torch.Generator().manual_seed(frames))
    with torch.no_grad():
        offline, streamed = module(recording), model.run(recording)
    assert isinstance(streamed, Tensor)
    assert streamed.shape == offline.shape
    gap = (streamed - offline).abs().amax((0, 1)) / offline.abs().max().clamp(min=1)
    return gap, model.spec, comparable(model.spec, model.spec.outputs[0], frames, offline.shape[2])


def test_what_is_compared_is_exact_whatever_rates_lie_between() -> None:
    tally = Counter[str]()

    def check(drawn: tuple[nn.Module, int]) -> None:
        found = compared(*drawn)
        if found is None:
            return
        gap, spec, (first, last) = found
        assert first < last
        assert float(gap[first:last].max()) <= 1e-10, "compared, and not exact"
        # At each end less is left out than two receptive fields.
        reach = 2 * (spec.receptive_field or 0) * spec.outputs[0].frames / spec.window + 2 * spec.outputs[0].frames
        assert max(first, len(gap) - last) <= reach + 8, "more is left out"
        tally["converted"] += 1
        tally["differing"] += bool((gap > 1e-6).any())

    hold(check, stacks(), 60)
    assert tally["converted"] >= 40
    # The edges differ in many of them, so comparing all frames would fail.
    assert tally["differing"] >= 20


def test_a_recording_without_a_frame_inside_proves_nothing() -> None:
    module = randomise(pooled(), 0).float()
    model = convert(module, torch.randn(1, 3, 40), Streaming(lookahead=3))
    with pytest.raises(DataError, match=r"'output': the longest has 4 frames.*of 7 frames"):
        float_parity(module, model, [torch.randn(3, 4)])
    # The advice.
    proofs, notes = float_parity(module, model, [torch.randn(3, 7), torch.randn(3, 40)])
    assert all(proof.passed for proof in proofs)
    assert notes[0].startswith("up to 1 output frame(s) at the start and 2 at the end of a recording were not compared")
