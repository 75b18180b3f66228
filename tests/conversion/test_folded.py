"""Batch and time in one axis, `[batch * time, ...]`: the part between treats every frame as a recording of its own."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_esp import Streaming, convert
from lightning_esp.errors import ConversionError, UnsupportedOperatorError
from lightning_esp.quantization import Worker
from tests.models.pieces import Function
from tests.models.proved import prove
from tests.models.tutorial_tcn import shake


class Video(nn.Module):
    """Images through convolutions one by one, then an LSTM over them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4)
        self.pool, self.rnn, self.head = nn.AvgPool2d(2), nn.LSTM(16, 6, batch_first=True), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        batch, frames = x.shape[:2]
        y = self.pool(torch.relu(self.norm(self.first(x.reshape(batch * frames, *x.shape[2:])))))
        return self.head(self.rnn(y.reshape(batch, frames, -1))[0])


class Distributed(nn.Module):
    """Layers on `[batch * time, channels]`, in a residual, around a convolution over time."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.norm, self.after = nn.Linear(8, 8), nn.BatchNorm1d(8), nn.LayerNorm(8)
        self.time = nn.Conv1d(8, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.contiguous().view(-1, x.size(-1))
        y = x + self.after(F.elu(self.norm(self.before(flat)))).unflatten(0, x.shape[:2])
        y = self.time(F.pad(y.transpose(1, 2), (2, 0))).transpose(1, 2)
        return torch.tanh(y.flatten(0, 1)).view(x.size(0), -1, 4)


def bands(m: nn.Module, x: Tensor) -> Tensor:
    """A convolution over the bins of each frame, behind a stride of two frames."""
    y = x[:, 1::2]
    return m.get_submodule("conv")(y.reshape(-1, 1, 8)).flatten(1).view(len(x), -1, 24)


MODULES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], Streaming]] = {
    "video": (Video, (9, 1, 8, 8), Streaming(time_axis=1)),
    "distributed": (Distributed, (9, 8), Streaming(time_axis=1)),
    "distributed, several frames": (Distributed, (9, 8), Streaming(time_axis=1, window=3)),
    "distributed, in stages": (Distributed, (9, 8), Streaming(time_axis=1, stages=2)),
    "bands": (lambda: Function(bands, conv=nn.Conv1d(1, 4, 3)), (10, 8), Streaming(time_axis=1)),
}


@pytest.mark.parametrize("name", MODULES)
def test_frames_in_the_axis_of_the_batch_stream(name: str) -> None:
    build, shape, streaming = MODULES[name]
    torch.manual_seed(0)
    module, x = shake(build()).eval().double(), torch.randn(2, *shape, dtype=torch.float64)
    streamed = convert(module, x[:1], streaming).run(x)
    assert isinstance(streamed, Tensor)
    torch.testing.assert_close(streamed, module(x), rtol=0, atol=1e-10)


def test_a_network_over_images_is_proved(worker: Worker) -> None:
    torch.manual_seed(0)
    prove(shake(Video()).eval(), [torch.randn(n, 1, 8, 8) for n in (12, 7)], worker)


def test_stages_are_proved(worker: Worker) -> None:
    torch.manual_seed(0)
    recordings = [torch.randn(n, 8) for n in (20, 13)]
    prove(shake(Distributed()).eval(), recordings, worker, Streaming(time_axis=1, stages=2))


REFUSED: dict[str, tuple[Callable[[nn.Module, Tensor], Tensor], type[ConversionError], str]] = {
    "returned": (
        lambda m, x: x.reshape(-1, 8).tanh(),
        ConversionError,
        r"batch and time in one axis; return it as \[batch",
    ),
    "over both": (lambda m, x: x - x.reshape(-1, 8).mean(0), UnsupportedOperatorError, "mean runs over all of time"),
    "time first": (
        lambda m, x: x.transpose(0, 1).reshape(-1, 8).tanh().view(-1, len(x), 8).transpose(0, 1),
        UnsupportedOperatorError,
        "mixes the batch with another axis",
    ),
    "with bins": (
        lambda m, x: x.reshape(-1, 1).tanh().view(len(x), -1, 8),
        UnsupportedOperatorError,
        r"a recurrent layer that they share",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_joins_more_than_frames_is_refused(name: str) -> None:
    function, error, told = REFUSED[name]
    with pytest.raises(error, match=told):
        convert(Function(function), torch.randn(9, 8), Streaming(time_axis=1))


def test_convolutions_of_several_frames_in_the_axis_of_the_batch_are_refused() -> None:
    module = Function(bands, conv=nn.Conv1d(1, 4, 3))
    with pytest.raises(UnsupportedOperatorError, match=r"'conv' .*gets 2 frames.*use Streaming\(window=2\)"):
        convert(module, torch.randn(10, 8), Streaming(time_axis=1, window=4))
