"""Which axis is time: what tells it, and the question where nothing does."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_esp import Calibration, Streaming, convert, export, simulate
from lightning_esp.conversion.axes import settle_time
from lightning_esp.errors import ConfigurationError, NotCausalError, UnsupportedOperatorError
from lightning_esp.frontend import LogMel
from lightning_esp.pipeline import tell_time
from tests.models.pieces import Function

BINS, FRAMES = 16, 50


def planes(time: int, bins: int = 0, stride: int = 1) -> nn.Module:
    """Convolutions over `[batch, channels, bins, time]`: `time` frames of padding in front, `bins` of it around."""
    first = nn.Conv2d(1, 4, (2 * bins + 1, time + 1), (stride, 1), (bins, 0))
    second = nn.Conv2d(4, 1, (1, time + 1))
    return Function(
        lambda m, x: m.second(F.pad(torch.relu(m.first(F.pad(x, (time, 0)))), (time, 0))), first=first, second=second
    )


def turned(module: nn.Module) -> nn.Module:
    """The same in `[batch, channels, time, bins]`."""
    return Function(lambda m, x: m.inner(x.transpose(2, 3)).transpose(2, 3), inner=module)


class Rows(nn.Module):
    """A GRU over time and one, in both directions, over bins: `[batch, time, bins]`."""

    def __init__(self) -> None:
        super().__init__()
        self.over_bins = nn.GRU(1, 2, batch_first=True, bidirectional=True)
        self.over_time = nn.GRU(4, 3, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        batch, frames, bins = x.shape
        y = self.over_bins(x.reshape(batch * frames, bins, 1))[0].reshape(batch, frames, bins, 4)
        y = y.transpose(1, 2).reshape(batch * bins, frames, 4)
        return self.over_time(y)[0].reshape(batch, bins, frames, 3).transpose(1, 2)


def axis_of(module: nn.Module, *shape: int, streaming: Streaming | None = None) -> int | None:
    return convert(module, torch.zeros(shape), streaming).spec.inputs[0].time_axis


@pytest.mark.parametrize(
    ("module", "axis"),
    [
        (planes(2), 3),
        (turned(planes(2)), 2),
        (planes(2, bins=1), 3),
        (turned(planes(2, bins=1)), 2),
        (planes(2, bins=1, stride=2), 3),
        (turned(planes(2, bins=1, stride=2)), 2),
    ],
)
def test_padding_in_front_tells_time_from_bins(module: nn.Module, axis: int) -> None:
    shape = (1, 1, BINS, FRAMES) if axis == 3 else (1, 1, FRAMES, BINS)
    assert axis_of(module, *shape) == axis
    # As untrained heads are.
    inner = module.inner if axis == 2 else module
    nn.init.zeros_(inner.second.weight)
    assert axis_of(module, *shape) == axis


def test_a_recurrent_layer_in_one_direction_tells_time_from_bins() -> None:
    # It cannot be streamed since batch and bins are mixed, but is refused for the right axis.
    with pytest.raises(UnsupportedOperatorError, match=r"Time is axis 1 of the input \[1, 50, 16\]"):
        axis_of(Rows(), 1, FRAMES, BINS)


def test_an_output_that_keeps_its_length_does_not_follow_time() -> None:
    # Pooled bins: any number of them is taken, and none is seen behind.
    assert axis_of(Function(lambda m, x: m.first(x).mean(2), first=nn.Conv2d(1, 4, (3, 1))), 1, 1, BINS, FRAMES) == 3


AMBIGUOUS = {
    "each position alone": (
        nn.Conv2d(1, 2, 1),
        "along axis 2 it takes each position alone; along axis 3 it takes each",
    ),
    "no padding over bins": (nn.Conv2d(1, 2, (3, 1)), "along axis 3 it takes each position alone"),
    "padding around bins": (
        nn.Conv2d(1, 2, (3, 1), padding=(1, 0)),
        "along axis 2 it looks ahead; along axis 3 it takes",
    ),
    "padding around both": (nn.Conv2d(1, 2, 3, padding=1), "along axis 2 it looks ahead; along axis 3 it looks ahead"),
    "strides over both": (nn.Conv2d(1, 2, 3, stride=2, padding=1), "axis 2 and axis 3. Give"),
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_where_nothing_tells_the_message_names_each_axis(name: str) -> None:
    module, told = AMBIGUOUS[name]
    with pytest.raises(ConfigurationError) as caught:
        axis_of(module, 1, 1, BINS, FRAMES)
    message = str(caught.value)
    assert "which axis of the input [1, 1, 16, 50] is time, nothing tells" in message
    assert told in message
    assert "Streaming(time_axis=2) if the 16 are frames, Streaming(time_axis=3) if the 50 are frames" in message
    # No advice to look ahead, since bins may be meant.
    assert "lookahead" not in message


def test_who_allows_a_look_ahead_is_asked_where_one_axis_has_it() -> None:
    with pytest.raises(ConfigurationError, match="along axis 2 it looks ahead; along axis 3 it remembers"):
        axis_of(planes(2, bins=1), 1, 1, BINS, FRAMES, streaming=Streaming(lookahead=1))
    assert axis_of(planes(2), 1, 1, BINS, FRAMES, streaming=Streaming(lookahead=1)) == 3


class SubBands(nn.Module):
    """Normalization of groups of bins, as in BC-ResNet, around a convolution over time."""

    def __init__(self, pad: int) -> None:
        super().__init__()
        self.bands = nn.Conv2d(1, 8, (3, 1), padding=(1, 0), bias=False)
        self.norm = nn.BatchNorm2d(40)
        self.pad, self.time = pad, nn.Conv2d(8, 4, (1, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.bands(x)
        batch, channels, bins, frames = x.size()
        x = self.norm(x.view(batch, channels * 5, bins // 5, frames)).view(batch, channels, bins, frames)
        return self.time(F.pad(x, (self.pad, 0)))


def test_sub_bands_stream_along_the_last_axis() -> None:
    assert axis_of(SubBands(2), 1, 1, 20, FRAMES) == 3
    assert axis_of(SubBands(0), 1, 1, 20, FRAMES, streaming=Streaming(time_axis=3)) == 3


def test_messages_name_the_axis_of_time() -> None:
    with pytest.raises(NotCausalError, match=r"Time is axis 2 of the input \[1, 1, 16, 50\]"):
        axis_of(nn.Conv2d(1, 2, 3, padding=1), 1, 1, BINS, FRAMES, streaming=Streaming(time_axis=2))
    with pytest.raises(UnsupportedOperatorError, match=r"mixes time .* Time is axis 2 of the input \[1, 1, 20, 50\]"):
        axis_of(SubBands(2), 1, 1, 20, FRAMES, streaming=Streaming(time_axis=2))


def test_lengths_of_recordings_tell() -> None:
    module = nn.Conv2d(1, 2, 1)
    longer = [torch.zeros(1, BINS, n) for n in (50, 40)]
    wider = [torch.zeros(1, n, BINS) for n in (50, 40)]
    assert settle_time(module, longer, Streaming()).time_axis == 3
    assert settle_time(module, wider, Streaming()).time_axis == 2
    assert settle_time(module, longer, Streaming(time_axis=2)).time_axis == 2
    assert settle_time(module, longer[:1], Streaming()).time_axis is None
    assert settle_time(module, [{"input": value} for value in wider], Streaming()).time_axis == 2
    # Two axes that differ tell nothing, and are refused where they are read.
    assert settle_time(module, [longer[0], wider[0]], Streaming()).time_axis is None


def test_an_export_takes_the_axis_from_the_lengths(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 2, (3, 1), padding=(1, 0)), nn.ReLU(), nn.Conv2d(2, 1, 1))
    recordings = [torch.randn(1, 4, frames) for frames in (12, 9)]
    with pytest.raises(ConfigurationError, match="nothing tells"):
        export(module, recordings[:1], tmp_path / "one")
    bundle = export(module, recordings, tmp_path / "two", calibration=Calibration(max_recordings=2))
    (stage,) = bundle.manifest["targets"]["esp32s3"]["stages"]
    (tensor,) = stage["inputs"]
    assert sorted(tensor["shape"]) == [1, 1, 1, 4]
    simulated = simulate(bundle, recordings[0])
    assert isinstance(simulated, Tensor)
    assert float((simulated - module(recordings[0][None])[0].detach()).abs().max()) < 0.1


def test_a_front_end_tells() -> None:
    module, features = nn.Conv1d(1, 1, 1), [torch.zeros(BINS, FRAMES)]
    assert tell_time(module, features, None, LogMel(num_mel_bins=BINS)).time_axis == 2
    said = Streaming(window=4, time_axis=1)
    assert tell_time(module, features, said, LogMel(num_mel_bins=BINS)) == said
    assert tell_time(module, features, None, None).time_axis is None


class Frames(nn.Module):
    """A product over all frames, on `[batch, channels, time]`."""

    def __init__(self, frames: int, out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(frames, out))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bct,ts->bcs", x, self.weight)


LAYERS = {
    "mixer": (nn.Linear(FRAMES, FRAMES), (BINS, FRAMES), "Streaming(time_axis=2) if the 50 are"),
    "forecast": (nn.Linear(FRAMES, 7), (BINS, FRAMES), "Streaming(time_axis=2) if the 50 are"),
    "product": (Frames(FRAMES, FRAMES), (BINS, FRAMES), "Streaming(time_axis=2) if the 50 are"),
    # Over bins 1x1 like a mixer's; a stride of 1 and a kernel of 1 tell nothing.
    "planes": (
        nn.Sequential(nn.Conv2d(1, 2, 1), nn.Linear(FRAMES, FRAMES)),
        (1, BINS, FRAMES),
        "Streaming(time_axis=3) if the 50 are",
    ),
    "per frame": (nn.Linear(BINS, 4), (FRAMES, BINS), "Streaming(time_axis=1) if the 50 are frames"),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_over_all_of_time_is_not_taken_for_one_per_frame(name: str) -> None:
    module, shape, told = LAYERS[name]
    with pytest.raises(ConfigurationError, match=r"nothing tells: .* takes any length along axis") as caught:
        convert(module, torch.randn(shape))
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("module", "shape", "axis"),
    [
        (nn.Sequential(nn.Conv1d(BINS, 4, 1), nn.ReLU()), (BINS, FRAMES), 2),
        (Function(lambda m, x: m.inner(x.mT).mT, inner=nn.Conv1d(BINS, 4, 1)), (FRAMES, BINS), 1),
        (nn.GRU(BINS, 3, batch_first=True), (FRAMES, BINS), 1),
        (nn.Linear(1, 4), (FRAMES, 1), 1),
        (nn.Conv1d(BINS, 4, 2, stride=2), (BINS, FRAMES), 2),
        (nn.Sequential(nn.Linear(BINS, 4), nn.LayerNorm(4), nn.ReLU()), (FRAMES, BINS), 1),
        (nn.Sequential(nn.RMSNorm(BINS), nn.Linear(BINS, 4)), (FRAMES, BINS), 1),
    ],
    ids=["convolution", "turned", "memory", "one channel", "strided", "layer norm", "RMS norm"],
)
def test_a_convolution_a_norm_or_a_memory_tells_its_axis(module: nn.Module, shape: tuple[int, ...], axis: int) -> None:
    module = Function(lambda m, x: m.inner(x)[0], inner=module) if isinstance(module, nn.GRU) else module
    assert axis_of(module, 1, *shape) == axis


def test_a_layer_over_all_of_time_is_refused_by_name() -> None:
    mixer = nn.Sequential(nn.Conv1d(BINS, 4, 1), nn.Linear(FRAMES, FRAMES))
    with pytest.raises(ConfigurationError, match=r"not found.*as a layer over all of time"):
        axis_of(mixer, 1, BINS, FRAMES)
    with pytest.raises(UnsupportedOperatorError, match=r"'1' \(Linear\): linear takes 50 frames"):
        axis_of(mixer, 1, BINS, FRAMES, streaming=Streaming(time_axis=2))
