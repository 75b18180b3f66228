"""Automatic conversion: well-known architectures stream from their plain offline code."""

import copy
import warnings
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_esp.config import Streaming
from lightning_esp.conversion import StreamingModel, convert
from lightning_esp.errors import WindowError
from tests.models.architectures import NAMED, KeywordTcn, Named, UNet, tc_resnet
from tests.models.contracts import GatedCell, Strided, TwoCaches
from tests.models.pieces import CausalConv, Function, randomise
from tests.models.random_layers import HandWritten

WINDOWS = (1, 2, 3, 8)


def options(named: Named, strides: int | None = None, stride: int = 1) -> Streaming:
    return Streaming(time_axis=named.axis, window=None if strides is None else strides * stride)


def converted(named: Named, strides: int | None = None, stride: int = 1) -> StreamingModel:
    return convert(named.module(), named.recording(named.shape[named.axis]), options(named, strides, stride))


def difference(model: StreamingModel, module: nn.Module, recording: Tensor) -> float:
    with torch.no_grad():
        offline, streamed = module(recording), model.run(recording)
    assert isinstance(streamed, Tensor)
    assert streamed.shape == offline.shape
    (port,), axis = model.spec.outputs, model.spec.inputs[0].time_axis
    assert port.time_axis is not None
    assert axis is not None
    settled = model.spec.settled_frames(port, recording.shape[axis])
    gap = (streamed - offline).narrow(port.time_axis, 0, settled)
    return float(gap.abs().max()) / max(1.0, float(offline.abs().max()))


@pytest.mark.parametrize("name", NAMED)
def test_streamed_equals_offline_for_any_window_and_length(name: str) -> None:
    named, module = NAMED[name], NAMED[name].module()
    stride = converted(named).spec.stride
    for strides in WINDOWS:
        model = converted(named, strides, stride)
        assert model.window == strides * stride
        for frames in (1, 2, 5, 23, 61):
            if frames >= named.shortest:
                assert difference(model, module, named.recording(frames, batch=2, seed=frames)) < 1e-10


@pytest.mark.parametrize("name", NAMED)
def test_weights_are_not_trivial(name: str) -> None:
    named = NAMED[name]
    module, recording = named.module(), named.recording(40)
    with torch.no_grad():
        before = module(recording)
        changed = recording.clone()
        changed.narrow(named.axis, 20, 1).add_(1.0)
        assert float((module(changed) - before).abs().max()) > 1e-3


@pytest.mark.parametrize("name", [n for n in NAMED if not NAMED[n].recurrent])
def test_computed_receptive_field_is_the_one_of_the_gradient(name: str) -> None:
    named, model = NAMED[name], converted(NAMED[name])
    recording = named.recording(400).requires_grad_()
    module = named.module()
    smooth(module)
    output = module(recording)
    port = model.spec.outputs[0]
    assert port.time_axis is not None
    widest = 0
    per_stride = max(1, port.frames)
    first = output.shape[port.time_axis] // 2 // per_stride * per_stride
    for frame in range(first, first + per_stride):
        (gradient,) = torch.autograd.grad(output.select(port.time_axis, frame).sum(), recording, retain_graph=True)
        touched = gradient.abs().transpose(0, named.axis).flatten(1).amax(1).nonzero().flatten()
        widest = max(widest, int(touched[-1] - touched[0]) + 1)
    assert model.receptive_field == widest


def smooth(module: nn.Module) -> None:
    # A dead ReLU would hide frames from the gradient: with a positive bias everywhere none is dead for long.
    for value in module.parameters():
        value.data.abs_()


@pytest.mark.parametrize("name", NAMED)
def test_no_output_depends_on_the_future(name: str) -> None:
    named, model = NAMED[name], converted(NAMED[name])
    module = named.module()
    spec = model.spec
    recording = named.recording(48).requires_grad_()
    output = module(recording)
    port = spec.outputs[0]
    assert port.time_axis is not None
    for block in (1, 3):
        last = (block + 1) * port.frames - 1 - spec.delay
        (gradient,) = torch.autograd.grad(
            output.select(port.time_axis, max(0, last)).sum(), recording, retain_graph=True
        )
        future = gradient.narrow(named.axis, (block + 1) * spec.window, 48 - (block + 1) * spec.window)
        if last >= 0:
            assert float(future.abs().max()) == 0.0


@pytest.mark.parametrize("name", ["tc_resnet", "gru", "unet"])
def test_state_is_carried_and_starts_anew(name: str) -> None:
    named, model = NAMED[name], converted(NAMED[name], 2, 4 if name != "gru" else 2)
    port = model.spec.inputs[0]
    recording = named.recording(model.window * 50)
    caches, parts = model.initial_caches(1, recording), []
    for window in recording.split(model.window, dim=named.axis):
        output, caches = model.step(window, caches)
        assert isinstance(output, Tensor)
        parts.append(output)
    assert port.time_axis == named.axis
    whole = model.run(recording)
    assert isinstance(whole, Tensor)
    assert torch.equal(torch.cat(parts, dim=model.spec.outputs[0].time_axis or 0), whole)
    assert any(float(value.abs().max()) > 0 for value in caches.values())
    again = model.run(recording)
    assert isinstance(again, Tensor)
    assert torch.equal(again, whole)


def test_the_module_its_mode_and_the_random_state_are_left_alone() -> None:
    module = tc_resnet().train()
    before = copy.deepcopy(module.state_dict())
    random = torch.get_rng_state()
    example = torch.ones(1, 5, 24)
    convert(module, example)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(part.training for part in module.modules())
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    assert torch.equal(example, torch.ones(1, 5, 24))


def test_a_converted_model_keeps_its_weights_when_training_goes_on() -> None:
    module = randomise(KeywordTcn(), 0)
    recording = NAMED["keyword_tcn"].recording(20)
    model = convert(module, recording)
    before = model.run(recording)
    for parameter in module.parameters():
        parameter.data.mul_(2)
    after = model.run(recording)
    assert isinstance(before, Tensor)
    assert isinstance(after, Tensor)
    assert torch.equal(before, after)


def test_names_follow_the_modules() -> None:
    spec = converted(NAMED["tc_resnet"]).spec
    assert [cache.name for cache in spec.caches] == ["0.cache", "1.first.cache", "1.second.cache", "2.first.cache", "2.second.cache"]  # fmt: skip
    assert [port.name for port in spec.outputs] == ["output"]
    assert [stage.name for stage in spec.stages] == ["stage_0"]
    recurrent = converted(NAMED["lstm"]).spec
    assert [cache.name for cache in recurrent.caches][1:] == [
        f"rnn.{n}_{i}" for i in range(3) for n in ("hidden", "cell")
    ]
    assert all(cache.shape == (1, 5) for cache in recurrent.caches[1:])


def test_caches_hold_no_more_frames_than_their_layer_needs() -> None:
    caches = {cache.name: cache.shape for cache in converted(NAMED["keyword_tcn"]).spec.caches}
    assert caches == {"depthwise.0.cache": (1, 8, 2), "depthwise.1.cache": (1, 8, 4), "depthwise.2.cache": (1, 8, 8)}


def test_print_shows_caches_rates_delays_and_totals() -> None:
    named = NAMED["unet"]
    model = convert(named.module(), named.recording(24), Streaming(frame_period=0.01))
    rows = {line.split()[0]: line.split() for line in str(model).splitlines() if " conv1d " in line}
    # layer, operator, cache, rate, delay, bytes
    assert rows["down2"] == ["down2", "conv1d", "1x4x3", "1/4", "0", "12"]
    assert rows["middle"] == ["middle", "conv1d", "1x6x4", "1/4", "0", "24"]
    assert str(model).endswith(
        "window           4 frames (40 ms), a multiple of the stride of 4\n"
        "receptive field  37 frames (370 ms)\n"
        "delay            0 output frames (0 ms)\n"
        "caches           5, 70 bytes in int8"  # 3 x 4 + 4 x 3 + 6 x 4 + 6 x 1 + 8 x 2
    )


def test_print_shows_the_delay_of_a_look_ahead_and_of_stages() -> None:
    module = nn.Sequential(nn.Conv1d(4, 6, 5, padding=2), nn.Conv1d(6, 3, 3, padding=1, stride=2))
    options = Streaming(frame_period=0.01, lookahead=4, stages=2)
    text = str(convert(module, torch.randn(1, 4, 40), options))
    assert [line.split()[1:] for line in text.splitlines()[1:3]] == [
        ["conv1d", "1x4x4", "1", "2", "16"],
        ["conv1d", "1x6x1", "1/2", "1", "6"],
    ]
    assert "delay            1 output frame (20 ms)" in text
    assert "stages           2, the last of which ends 1 frame (10 ms) after its window" in text


def test_print_says_why_a_receptive_field_is_not_known() -> None:
    assert "receptive field  unlimited, since a recurrent layer never forgets" in str(converted(NAMED["gru"]))
    mixed = convert(nn.Sequential(CausalConv(8, 8, 3), TwoCaches()), torch.randn(1, 8, 30))
    assert "receptive field  unknown, since a hand-written streaming_forward" in str(mixed)


def test_a_window_that_is_no_multiple_of_the_stride_is_refused_and_the_advice_works() -> None:
    named = NAMED["tc_resnet"]
    with pytest.raises(WindowError, match=r"window=6\) .* of 4 frames; use 4 or 8"):
        convert(named.module(), named.recording(24), Streaming(window=6))
    for window in (4, 8):
        model = convert(named.module(), named.recording(24), Streaming(window=window))
        assert difference(model, named.module(), named.recording(33)) < 1e-10


def test_a_window_lasts_as_long_as_the_stages() -> None:
    named = NAMED["keyword_tcn"]
    with pytest.raises(WindowError, match="shorter than the 3 stages"):
        convert(named.module(), named.recording(24), Streaming(window=2, stages=3))


class Branches(nn.Module):
    """A skip branch that is delayed against a main branch without padding."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv1d(3, 3, 5)
        self.narrow = nn.Conv1d(3, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.wide(x) + self.narrow(x)[:, :, :-2] + x[..., 1:-3]


def test_shorter_branches_are_delayed_by_caches_of_their_own() -> None:
    module = randomise(Branches(), 0)
    recording = torch.randn(2, 3, 40, dtype=torch.float64)
    model = convert(module, recording[:1], Streaming(window=3))
    assert difference(model, module, recording) < 1e-10
    delays = {cache.name: cache.shape[2] for cache in model.spec.caches if "delay" in cache.name}
    assert delays == {"add.delay": 2, "add.delay_2": 3}
    assert (model.delay, model.spec.trim, model.receptive_field) == (4, 4, 5)


class TwoStreams(nn.Module):
    """Two streams and an embedding that is held."""

    def __init__(self) -> None:
        super().__init__()
        self.microphone = CausalConv(4, 4, 3)
        self.reference = CausalConv(2, 4, 5)
        self.speaker = nn.Linear(6, 4)

    def forward(self, mic: Tensor, reference: Tensor, speaker: Tensor) -> tuple[Tensor, Tensor]:
        y = self.microphone(mic) + self.reference(reference)
        gain = self.speaker(speaker)
        spread = gain[:, :, None].expand(-1, -1, y.shape[-1])
        return y * gain.unsqueeze(-1), torch.cat([y[:, :2], spread], dim=1)


def test_several_inputs_a_held_one_and_several_outputs() -> None:
    module = randomise(TwoStreams(), 0)
    recording = {"mic": torch.randn(1, 4, 31).double(), "reference": torch.randn(1, 2, 31).double(),
                 "speaker": torch.randn(1, 6).double()}  # fmt: skip
    model = convert(module, recording, Streaming(window=2))
    assert [(port.name, port.time_axis) for port in model.spec.inputs] == [
        ("mic", 2),
        ("reference", 2),
        ("speaker", None),
    ]
    assert [port.name for port in model.spec.outputs] == ["output_0", "output_1"]
    with torch.no_grad():
        for streamed, offline in zip(model.run(recording), module(**recording), strict=True):
            assert float((streamed - offline).abs().max()) < 1e-10


class TwoRates(nn.Module):
    """One output per frame and one per two frames, of different length and delay."""

    def __init__(self) -> None:
        super().__init__()
        self.fast, self.slow = nn.Conv1d(3, 2, 3), nn.Conv1d(3, 2, 4, stride=2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.fast(x), self.slow(x)


@pytest.mark.parametrize("frames", [4, 5, 30, 31])
def test_outputs_of_different_rate_and_length(frames: int) -> None:
    module = randomise(TwoRates(), 0)
    recording = torch.randn(1, 3, frames, dtype=torch.float64)
    model = convert(module, torch.randn(1, 3, 30, dtype=torch.float64), Streaming(window=4))
    with torch.no_grad():
        for streamed, offline in zip(model.run(recording), module(recording), strict=True):
            assert streamed.shape == offline.shape
            assert float((streamed - offline).abs().max()) < 1e-10


@pytest.mark.parametrize(("make", "frames"), [(TwoCaches, 8), (GatedCell, 8), (Strided, 8)])
def test_a_hand_written_submodule_is_honoured(make: type[nn.Module], frames: int) -> None:
    inner = make()
    module = randomise(nn.Sequential(CausalConv(8, 8, 3), inner, nn.ReLU()), 0)
    # The probe would count calls of the offline forward: streaming must go through streaming_forward alone.
    recording = torch.randn(1, 8, 40, dtype=torch.float64)
    model = convert(module, recording)
    assert [c.name for c in model.spec.caches][1:] == [f"1.{name}" for name in inner.streaming_caches()]  # type: ignore[operator]
    assert difference(model, module, torch.randn(2, 8, 4 * frames, dtype=torch.float64)) < 1e-10


class Checked(nn.Module):
    """Asserts on shapes, ifs on constants, a debug branch that no output needs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(3, 3, 3)
        self.residual = True

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, frames = x.shape
        assert batch > 0
        assert channels == 3
        assert frames >= 1
        assert x.size(1) == self.conv.in_channels, f"{x.shape}"
        y = self.conv(F.pad(x, (2, 0)))
        assert y.shape == (batch, 3, frames)
        _ = y.mean(dim=-1)  # nobody reads it
        return y + x if self.residual else y


def test_asserts_ifs_and_unused_values_do_not_stop_it() -> None:
    module = randomise(Checked(), 0)
    recording = torch.randn(1, 3, 20, dtype=torch.float64)
    assert difference(convert(module, recording), module, recording) < 1e-10


def test_one_layer_called_twice_keeps_two_states_and_one_weight() -> None:
    conv = CausalConv(3, 3, 4)
    module = randomise(Function(lambda m, x: m.conv(torch.tanh(m.conv(x))), conv=conv), 0)
    recording = torch.randn(1, 3, 20, dtype=torch.float64)
    model = convert(module, recording)
    assert [cache.name for cache in model.spec.caches] == ["conv.cache", "conv.cache_2"]
    assert sum(p.numel() for p in model.stages[0].parameters()) == sum(p.numel() for p in module.parameters())
    assert difference(model, module, recording) < 1e-10


def test_the_streaming_graph_is_short() -> None:
    model = converted(NAMED["keyword_tcn"])
    operations = [n.target for n in model.stages[0].graph.nodes if n.op != "placeholder"]  # type: ignore[union-attr]
    # Per cached conv one concat and one slice, beside the layers themselves.
    assert len([t for t in operations if t is torch.cat]) == 3
    assert len([t for t in operations if t is torch.narrow]) == 3
    assert len(operations) == 1 + 3 * (2 + 5) + 1 + 1


def test_lengths_are_known_for_every_recording() -> None:
    module = randomise(UNet(), 0)
    model = convert(module, torch.randn(1, 3, 24, dtype=torch.float64))
    port = model.spec.outputs[0]
    assert [model.spec.output_frames(port, n) for n in range(1, 9)] == list(range(1, 9))
    assert all(b > a for a, b in pairwise([model.spec.windows(n) for n in (1, 5, 9)]))


class TemporalBlock(nn.Module):
    """The block of many TCNs: symmetric padding, cut at the end, under weight norm of the old kind."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.cut = (kernel - 1) * dilation
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            conv = nn.utils.weight_norm(nn.Conv1d(inputs, outputs, kernel, padding=self.cut, dilation=dilation))
        self.conv, self.dropout, self.skip = conv, nn.Dropout(0.2), nn.Conv1d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.dropout(torch.relu(self.conv(x)[:, :, : -self.cut].contiguous()))
        return torch.relu(y + self.skip(x))


def test_weight_norm_by_hooks_is_copied_and_converted() -> None:
    module = randomise(nn.Sequential(TemporalBlock(3, 4, 3, 1), TemporalBlock(4, 4, 3, 2)), 0)
    recording = torch.randn(1, 3, 30, dtype=torch.float64)
    # Run with gradients, as in training: the weight then has a graph behind it.
    module(recording).sum().backward()
    model = convert(module, recording)
    assert difference(model, module, recording) < 1e-10
    assert model.receptive_field == 7
    assert all(p.requires_grad for p in module.parameters())


def test_an_open_end_is_known_behind_a_hand_written_submodule() -> None:
    codec = NAMED["masked_codec"].module()
    recording = NAMED["masked_codec"].recording(24)
    for module in (codec, nn.Sequential(codec, randomise(HandWritten(1, 2), 1))):
        model = convert(module, recording)
        assert model.spec.outputs[0].unlike_last
        assert difference(model, module, NAMED["masked_codec"].recording(42)) < 1e-10
