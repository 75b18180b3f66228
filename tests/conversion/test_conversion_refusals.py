"""What cannot stream is refused by the name of its module, and the advice of each message works."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_esp.config import Streaming
from lightning_esp.conversion import convert
from lightning_esp.errors import ConversionError, NotCausalError, UnsupportedOperatorError
from tests.models.pieces import CausalConv, Function, randomise

Forward = Callable[..., Tensor]


def inside(function: Forward, **layers: nn.Module) -> nn.Module:
    """A model in which the module at path `blocks.1` has the given forward."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList([CausalConv(3, 4, 3), Function(function, **layers), nn.Conv1d(4, 2, 1)])

        def forward(self, x: Tensor) -> Tensor:
            for block in self.blocks:
                x = block(x)
            return x

    return randomise(Model(), 0)


def streams(module: nn.Module, **options: int) -> None:
    recording = torch.randn(1, 3, 30, dtype=torch.float64)
    model = convert(module, recording, Streaming(time_axis=2, clip=None, **options))  # type: ignore[arg-type]
    with torch.no_grad():
        offline, streamed = module(recording), model.run(recording)
    assert isinstance(streamed, Tensor)
    assert streamed.shape == offline.shape
    assert float((streamed - offline).abs().max()) < 1e-10


def loop(m: nn.Module, x: Tensor) -> Tensor:
    state, outputs = torch.zeros_like(x[:, :, 0]), []
    for t in range(x.shape[-1]):
        state = 0.5 * state + x[:, :, t]
        outputs.append(state)
    return torch.stack(outputs, dim=-1)


def average(m: nn.Module, x: Tensor) -> Tensor:
    return x - F.avg_pool1d(F.pad(x, (5 - 1, 0)), 5, stride=1)


def largest(m: nn.Module, x: Tensor) -> Tensor:
    return F.max_pool1d(F.pad(x, (5 - 1, 0)), 5, stride=1)


def gru(**options: bool) -> nn.Module:
    return nn.GRU(4, 2 if options.get("bidirectional") else 4, batch_first=True, **options)


def over_gru(m: nn.Module, x: Tensor) -> Tensor:
    return m.rnn(x.mT)[0].mT  # type: ignore[operator]


def last_state(m: nn.Module, x: Tensor) -> Tensor:
    return x + m.rnn(x.mT)[1][0].unsqueeze(-1)  # type: ignore[operator]


def every_state(m: nn.Module, x: Tensor) -> Tensor:
    y, _ = m.rnn(x.mT)  # type: ignore[operator]
    return x + y.mT


def normed(m: nn.Module, x: Tensor) -> Tensor:
    return m.norm(x)  # type: ignore[operator]


def channel_normed(m: nn.Module, x: Tensor) -> Tensor:
    return m.norm(x.mT).mT  # type: ignore[operator]


def conv(m: nn.Module, x: Tensor) -> Tensor:
    return m.conv(x)  # type: ignore[operator]


def padded_conv(m: nn.Module, x: Tensor) -> Tensor:
    return m.conv(F.pad(x, (2, 0)))  # type: ignore[operator]


def pad_twice(m: nn.Module, x: Tensor) -> Tensor:
    return m.second(F.pad(torch.tanh(m.conv(F.pad(x, (2, 0)))), (2, 0)))  # type: ignore[operator]


def pad_late(m: nn.Module, x: Tensor) -> Tensor:
    return m.second(F.pad(m.conv(x), (4, 0)))  # type: ignore[operator]


def convs() -> dict[str, nn.Module]:
    return {"conv": nn.Conv1d(4, 4, 3), "second": nn.Conv1d(4, 4, 3)}


def attend(m: nn.Module, x: Tensor) -> Tensor:
    return x @ torch.softmax(x.mT @ x, dim=1)


def write(m: nn.Module, x: Tensor) -> Tensor:
    x[:, :, 3] = 0.0
    return x


def shifted(m: nn.Module, x: Tensor) -> Tensor:
    return F.pad(x, (2, 0))[..., : x.shape[-1]]


def data_dependent(m: nn.Module, x: Tensor) -> Tensor:
    return x * 2 if float(x.sum()) > 0 else x


def computed(m: nn.Module, x: Tensor) -> Tensor:
    return torch.where(x > 0, x * 2, x)


def interpolated(m: nn.Module, x: Tensor) -> Tensor:
    return F.interpolate(m.conv(x), size=x.shape[-1])[..., : x.shape[-1]]  # type: ignore[operator]


def scaled(m: nn.Module, x: Tensor) -> Tensor:
    return F.interpolate(m.conv(F.pad(x, (1, 0))), scale_factor=2)[..., : x.shape[-1]]  # type: ignore[operator]


def positions(m: nn.Module, x: Tensor) -> Tensor:
    return x + torch.arange(x.shape[-1], dtype=x.dtype)


def in_front(m: nn.Module, x: Tensor) -> Tensor:
    return torch.cat([x[..., -2:], x], dim=-1)[..., :-2]


CASES: dict[str, tuple[Forward, dict[str, nn.Module], str, Forward, dict[str, nn.Module]]] = {
    "mean over time": (
        lambda m, x: x - x.mean(-1, keepdim=True), {},
        r"mean runs over all of time.*average the last N frames, F\.avg_pool1d\(F\.pad\(x, \(N - 1, 0\)\), N, stride=1\)",
        average, {}),
    "maximum over time": (
        lambda m, x: x - x.amax(-1, keepdim=True), {},
        r"amax runs over all of time.*F\.max_pool1d\(F\.pad\(x, \(N - 1, 0\)\), N, stride=1\)", largest, {}),
    "global pooling": (
        lambda m, x: x * m.pool(x), {"pool": nn.AdaptiveAvgPool1d(1)},
        r"adaptive_avg_pool1d pools all of time to 1 frame.*F\.avg_pool1d\(F\.pad\(x, \(N - 1, 0\)\), N, stride=1\)",
        average, {}),
    "global max pooling": (
        lambda m, x: x * m.pool(x), {"pool": nn.AdaptiveMaxPool1d(1)},
        r"pools all of time.*F\.max_pool1d\(F\.pad\(x, \(N - 1, 0\)\), N, stride=1\)", largest, {}),
    "cumulative sum": (lambda m, x: x.cumsum(-1), {}, r"cumsum adds up all frames.*or use nn\.GRU", over_gru,
                       {"rnn": gru()}),
    "loop over time": (loop, {}, r"Python loop over time.*use nn\.GRU or nn\.LSTM, or write streaming_forward",
                       over_gru, {"rnn": gru()}),
    "bidirectional": (over_gru, {"rnn": gru(bidirectional=True)},
                      r"gru runs backwards too \(bidirectional=True\).*use bidirectional=False", over_gru, {"rnn": gru()}),
    "last state": (last_state, {"rnn": gru()}, r"the state after the last frame is read.*read the output of every frame",
                   every_state, {"rnn": gru()}),
    "reversed": (lambda m, x: x + x.flip(-1), {}, r"flip reverses time.*drop the reversed branch", lambda m, x: x, {}),
    "group norm": (normed, {"norm": nn.GroupNorm(2, 4)},
                   r"group_norm normalises over all of time.*use nn\.BatchNorm1d", normed, {"norm": nn.BatchNorm1d(4)}),
    "instance norm": (normed, {"norm": nn.InstanceNorm1d(4)}, r"instance_norm normalises over all of time.*nn\.LayerNorm",
                      channel_normed, {"norm": nn.LayerNorm(4)}),
    "batch statistics": (normed, {"norm": nn.BatchNorm1d(4, track_running_stats=False)},
                         r"batch_norm takes its statistics from the recording.*track_running_stats=True", normed,
                         {"norm": nn.BatchNorm1d(4)}),
    "softmax over time": (lambda m, x: x * x.softmax(-1), {}, r"softmax normalises over all of time.*use dim=1",
                          lambda m, x: x * x.softmax(1), {}),
    "attention": (attend, {}, r"matmul multiplies two tensors made from the input.*use convolutions or nn\.GRU", over_gru,
                  {"rnn": gru()}),
    "attention layer": (lambda m, x: m.layer(x.mT, x.mT, x.mT)[0].mT, {"layer": nn.MultiheadAttention(4, 2, batch_first=True)},
                        r"multi_head_attention_forward attends over all of time.*use nn\.GRU", over_gru, {"rnn": gru()}),
    "attention function": (lambda m, x: F.scaled_dot_product_attention(x.mT, x.mT, x.mT, is_causal=True).mT, {},
                           r"scaled_dot_product_attention attends over all of time.*use nn\.GRU or causal convolutions",
                           padded_conv, {"conv": nn.Conv1d(4, 4, 3)}),
    "transformer": (lambda m, x: m.layer(x.mT).mT,
                    {"layer": nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)},
                    r"attends over all of time.*use nn\.GRU or causal convolutions", over_gru, {"rnn": gru()}),
    "unknown argument": (lambda m, x: torch.layer_norm(x.mT, (4,), None, None, 1e-5, False).mT, {},
                         r"layer_norm has arguments that its streaming rule does not know.*too many.*write streaming_forward",
                         lambda m, x: F.layer_norm(x.mT, (4,)).mT, {}),
    "late padding": (pad_late, convs(), r"pad pads on the left after 2 frame\(s\) were dropped.*pad in front of every layer",
                     pad_twice, convs()),
    "reflected": (lambda m, x: m.conv(F.pad(x, (2, 0), mode="reflect")), {"conv": nn.Conv1d(4, 4, 3)},
                  r"pad pads time with mode='reflect'.*pad with zeros", padded_conv, {"conv": nn.Conv1d(4, 4, 3)}),
    "padded max pool": (lambda m, x: F.max_pool1d(x, 3, 1, padding=1), {},
                        r"max_pool1d pads time by 1 frame\(s\) of minus infinity.*F\.pad\(x, \(kernel - 1, 0\)\)", largest, {}),
    "in place": (write, {}, r"__setitem__ writes to some frames.*F\.pad\(x, \(n, 0\)\)", shifted, {}),
    "reads data": (data_dependent, {}, r"__float__ reads the values of a tensor.*compute with tensors", computed, {}),
    "stretched": (interpolated, {"conv": CausalConv(4, 4, 2, stride=2)}, r"stretches time to a given size.*scale_factor=2",
                  scaled, {"conv": nn.Conv1d(4, 4, 2, stride=2)}),
    "linear upsampling": (lambda m, x: F.interpolate(x[..., ::2], scale_factor=2, mode="linear")[..., : x.shape[-1]], {},
                          r"""mode='linear' reads the next frame.*use mode="nearest\"""",
                          lambda m, x: F.interpolate(x[..., ::2], scale_factor=2, mode="nearest")[..., : x.shape[-1]], {}),
    "positions": (positions, {}, r"add reads a tensor \[.*\] that forward makes to fit.*parameter or buffer",
                  lambda m, x: x + m.conv.bias[:, None], {"conv": nn.Conv1d(4, 4, 3)}),
    "last frame": (lambda m, x: x - x[:, :, -1:], {}, r"keeps only the last frames.*return every frame",
                   lambda m, x: x, {}),
    "first frames": (lambda m, x: x[:, :, :5], {}, r"keeps the first 5 frames.*cut after the exported model",
                     lambda m, x: x, {}),
    "one frame": (lambda m, x: x - x[:, :, 3].unsqueeze(-1), {}, r"picks one frame.*return every frame",
                  lambda m, x: x, {}),
    "joined in time": (in_front, {}, r"cat joins tensors one after the other in time|keeps only the last frames",
                       lambda m, x: x + F.pad(x, (2, 0))[..., :-2], {}),
    "divides by the length": (lambda m, x: x / x.shape[-1], {}, r"div takes a number that follows the length",
                              lambda m, x: x / 30, {}),
    "mixed axes": (lambda m, x: x + x.flatten(1).unflatten(1, (4, -1)), {},
                   r"flatten mixes time with another axis.*x\.flatten\(1, 2\) of \[batch, channels, bins, time\]",
                   lambda m, x: x + x.unsqueeze(2).flatten(1, 2), {}),
    "unknown": (lambda m, x: torch.fft.rfft(x, dim=1).abs()[:, :1] + x, {},
                r"fft_rfft has no streaming rule.*write streaming_forward", lambda m, x: x, {}),
    "divisor": (lambda m, x: F.avg_pool2d(x.unsqueeze(1), (3, 1), 1, (1, 0), divisor_override=2).squeeze(1), {},
                r"avg_pool2d divides by divisor_override=2.*\* \(k \* k / divisor\)",
                lambda m, x: (F.avg_pool2d(x.unsqueeze(1), (3, 1), 1, (1, 0)) * 1.5).squeeze(1), {}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_refused_by_name_and_the_advice_streams(name: str) -> None:
    function, layers, message, advised, advised_layers = CASES[name]
    with pytest.raises(UnsupportedOperatorError, match=message) as raised:
        streams(inside(function, **layers))
    assert "'blocks.1" in str(raised.value)
    streams(inside(advised, **advised_layers))


LOOKING: dict[str, tuple[Forward, dict[str, nn.Module], int]] = {
    "symmetric conv": (conv, {"conv": nn.Conv1d(4, 4, 3, padding=1)}, 1),
    "padding same": (conv, {"conv": nn.Conv1d(4, 4, 5, padding="same")}, 2),
    "dilated": (conv, {"conv": nn.Conv1d(4, 4, 5, padding=6, dilation=3)}, 6),
    "right padding": (lambda m, x: m.conv(F.pad(x, (0, 2))), {"conv": nn.Conv1d(4, 4, 3)}, 2),
    "average pool": (lambda m, x: F.avg_pool1d(x, 3, 1, padding=1), {}, 1),
    "shift back": (lambda m, x: x + F.pad(x, (-1, 1)), {}, 1),
}


@pytest.mark.parametrize("name", LOOKING)
def test_a_look_ahead_is_refused_with_its_frames_and_its_time(name: str) -> None:
    function, layers, frames = LOOKING[name]
    module = inside(function, **layers)
    recording = torch.randn(1, 3, 30, dtype=torch.float64)
    with pytest.raises(NotCausalError, match=rf"needs {frames} frame\(s\) \({frames * 10} ms\)") as raised:
        convert(module, recording, Streaming(frame_period=0.01))
    assert "'blocks.1" in str(raised.value)
    # The advice: accept the delay ...
    assert f"Streaming(lookahead={frames})" in str(raised.value)
    assert convert(module, recording, Streaming(lookahead=frames)).delay == frames
    with pytest.raises(NotCausalError, match=rf"allows {frames - 1}\."):
        convert(module, recording, Streaming(lookahead=frames - 1))
    # ... or pad on the left alone.
    assert "F.pad(x, ((kernel - 1) * dilation, 0))" in str(raised.value)
    streams(inside(padded_conv, conv=nn.Conv1d(4, 4, 3)))


def test_total_look_ahead_counts_all_layers_even_before_causal_ones() -> None:
    layers = {"a": nn.Conv1d(4, 4, 5, padding=2), "b": CausalConv(4, 4, 3), "c": nn.Conv1d(4, 4, 3, padding=1)}
    module = inside(lambda m, x: m.c(m.b(torch.relu(m.a(x)))), **layers)
    with pytest.raises(NotCausalError, match=r"'blocks\.1\.a' .* looks ahead.*needs 3 frame"):
        convert(module, torch.randn(1, 3, 30, dtype=torch.float64))


def test_an_output_without_time_is_refused() -> None:
    module = nn.Sequential(nn.Conv1d(3, 4, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    with pytest.raises(UnsupportedOperatorError, match=r"module '1' .*pool after the exported model"):
        convert(module, torch.randn(1, 3, 30), Streaming(clip=None))


def test_a_length_between_whole_strides_is_refused_and_the_advice_streams() -> None:
    up, conv = nn.Upsample(scale_factor=2), nn.Conv1d(3, 2, 2)
    with pytest.raises(UnsupportedOperatorError, match=r"behind an upsampling on the left.*2 output frame"):
        streams(randomise(nn.Sequential(up, conv), 0))
    streams(randomise(nn.Sequential(up, nn.ConstantPad1d((1, 0), 0.0), conv), 0))


def test_a_forward_for_one_length_is_refused() -> None:
    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.zeros(1, 3, 30)

    with pytest.raises(ConversionError, match="takes 30 frames, but neither 67 nor 60"):
        convert(Fixed(), torch.randn(1, 3, 30), Streaming(time_axis=2))


def test_a_constant_output_is_refused() -> None:
    class Constant(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.zeros(x.shape)

    class Hidden(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.vmap(torch.relu)(x)

    for module in (Constant(), Hidden()):
        with pytest.raises(ConversionError, match="does not depend on the input, or is computed"):
            convert(module, torch.randn(1, 3, 30), Streaming(time_axis=2))


def test_lengths_that_differ_for_some_rests_only_are_told_apart() -> None:
    # The inner output is one frame shorter than its input for 3 n + 2 frames, and as long otherwise.
    codec = Function(
        lambda m, x: m.up(torch.tanh(m.down(F.pad(x, (1, 0)))))[..., : x.shape[-1]],
        down=nn.Conv1d(3, 4, 4, stride=3),
        up=nn.ConvTranspose1d(4, 3, 4, stride=3),
    )
    shifted = Function(lambda m, x: torch.maximum(x, F.pad(x, (4, 0))[:, :, : x.shape[2]]))
    module = randomise(nn.Sequential(codec, shifted), 0)
    for frames in (36, 37, 38):
        with pytest.raises(UnsupportedOperatorError, match="no whole number of frames per stride"):
            convert(module, torch.randn(1, 3, frames, dtype=torch.float64), Streaming(time_axis=2))
