"""Single rules: geometry, and forms of operators that random architectures don't draw."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_esp.config import Streaming
from lightning_esp.conversion import convert
from lightning_esp.conversion.rules import RULES
from lightning_esp.conversion.stream_tensor import slide
from lightning_esp.errors import UnsupportedOperatorError
from tests.models.pieces import Function, randomise

Forward = Callable[..., Tensor]


@pytest.mark.parametrize("delay", range(-7, 6))
@pytest.mark.parametrize("extent", range(1, 7))
@pytest.mark.parametrize("stride", [1, 2, 3, 5])
def test_a_kernel_stands_as_early_as_its_frames_allow(delay: int, extent: int, stride: int) -> None:
    place = slide(delay, extent, stride)
    # Output j covers stream frames first .. first + extent - 1 and may use frames up to stride * (j + 1) - 1.
    first = -place.history
    assert first + extent - 1 <= stride - 1
    # One output earlier would need a frame that has not come.
    assert first + stride + extent - 1 > stride - 1
    # Offline output i starts at offline input stride * i, each lag taken off.
    assert -place.history - delay == -stride * place.delay


def check(module: nn.Module, shape: tuple[int, ...] = (1, 4, 24), axis: int = 2) -> None:
    module = randomise(module, 0)
    example = torch.randn(shape, dtype=torch.float64)
    stride = convert(module, example, Streaming(time_axis=axis)).spec.stride
    for strides in (1, 3):
        model = convert(module, example, Streaming(time_axis=axis, window=strides * stride))
        with torch.no_grad():
            offline, streamed = module(example), model.run(example)
        assert isinstance(streamed, Tensor)
        assert streamed.shape == offline.shape
        assert float((streamed - offline).abs().max()) <= 1e-10 * max(1.0, float(offline.abs().max()))


FORMS: dict[str, tuple[Forward, dict[str, nn.Module]]] = {
    "conv as function with all arguments": (
        lambda m, x: F.conv1d(F.pad(x, [4, 0]), m.c.weight, bias=m.c.bias, stride=1, padding=0, dilation=2, groups=2),
        {"c": nn.Conv1d(4, 4, 3, groups=2)}),
    "torch.conv1d": (lambda m, x: torch.conv1d(F.pad(x, (2, 0)), m.c.weight), {"c": nn.Conv1d(4, 4, 3)}),
    "conv with padding string": (lambda m, x: m.c(F.pad(x, (2, 0))), {"c": nn.Conv1d(4, 4, 3, padding="valid")}),
    "padding layer": (lambda m, x: m.c(m.p(x)), {"c": nn.Conv1d(4, 4, 3), "p": nn.ZeroPad1d((2, 0))}),
    "padded in two steps": (lambda m, x: m.c(F.pad(F.pad(x, (1, 0)), (1, 0))), {"c": nn.Conv1d(4, 4, 3)}),
    "padded before an activation": (lambda m, x: m.c(torch.relu(F.pad(x, (2, 0)))), {"c": nn.Conv1d(4, 4, 3)}),
    "padded before a sigmoid": (lambda m, x: m.c(torch.sigmoid(F.pad(x, (2, 0)))), {"c": nn.Conv1d(4, 4, 3)}),
    "nonzero padding": (lambda m, x: m.c(F.pad(x, (2, 0), value=-1.25)), {"c": nn.Conv1d(4, 4, 3)}),
    "padded once for two layers": (lambda m, x: m.d(torch.tanh(m.c(F.pad(x, (4, 0))))),
                                   {"c": nn.Conv1d(4, 4, 3), "d": nn.Conv1d(4, 4, 3)}),
    "padded in front of a gate": (lambda m, x: m.d(F.glu(m.c(F.pad(x, (4, 0))), 1)),
                                  {"c": nn.Conv1d(4, 8, 1), "d": nn.Conv1d(4, 4, 3, dilation=2, groups=4)}),
    "padded in front of a norm and a pool": (lambda m, x: F.avg_pool1d(m.n(F.pad(x, (3, 0))), 4, 1), {"n": nn.BatchNorm1d(4)}),
    "more padding than the kernel": (lambda m, x: m.c(F.pad(x, (5, 0)))[..., : x.shape[-1]] + x, {"c": nn.Conv1d(4, 4, 3)}),
    "zeros in front": (lambda m, x: m.c(torch.cat((torch.zeros(x.shape[0], 4, 2, dtype=x.dtype), x), 2)),
                       {"c": nn.Conv1d(4, 4, 3)}),
    "delta": (lambda m, x: x - F.pad(x[:, :, :-1], (1, 0)), {}),
    "operators": (lambda m, x: -((1 - x) / 2 + x * 0.5) ** 2 + 2 / (x * x + 1), {}),
    "in place": (lambda m, x: (x * 1).mul_(2).add_(x).relu_().clamp_(0, 2), {}),
    "comparison": (lambda m, x: torch.where(x > 0, x, x * 0.1) * (x < 1), {}),
    "masked": (lambda m, x: x.masked_fill(x < 0, 0.5), {}),
    "cumulative over channels": (lambda m, x: x.cumsum(1), {}),
    "dtype there and back": (lambda m, x: x.to(torch.float64).type_as(x).contiguous(), {}),
    "glu over channels": (lambda m, x: F.glu(x, 1), {}),
    "largest of two": (lambda m, x: torch.max(x, x * 0.5) + torch.minimum(x, -x), {}),
    "largest channel": (lambda m, x: x.max(1, keepdim=True).values + x.amin(dim=1, keepdim=True), {}),
    "norm over channels": (lambda m, x: F.normalize(x, dim=1) + x.std(1, keepdim=True), {}),
    "channels last": (lambda m, x: m.n(x.mT).mT, {"n": nn.LayerNorm(4)}),
    "linear on [batch, time, channels]": (lambda m, x: m.a(m.b(x.permute(0, 2, 1))).movedim(1, 2),
                                          {"a": nn.Linear(5, 3, bias=False), "b": nn.Linear(4, 5)}),
    "decimated": (lambda m, x: m.c(F.pad(x, (4, 0)))[:, :, ::3], {"c": nn.Conv1d(4, 4, 5)}),
    "decimated from an offset": (lambda m, x: x[:, :, 2::2], {}),
    "stride longer than the kernel": (lambda m, x: m.c(x), {"c": nn.Conv1d(4, 4, 2, stride=5)}),
    "unbiased transposed": (lambda m, x: m.c(x)[..., : 3 * x.shape[-1]], {"c": nn.ConvTranspose1d(4, 4, 7, 3, bias=False)}),
    "transposed, cut in front": (lambda m, x: m.c(x)[..., 1 : 2 * x.shape[-1] - 1], {"c": nn.ConvTranspose1d(4, 4, 4, 2)}),
    "pool with stride": (lambda m, x: F.avg_pool1d(F.max_pool1d(x, 3, 2), 2), {}),
    "dilated pool": (lambda m, x: F.max_pool1d(F.pad(torch.relu(x), (4, 0)), 3, 1, dilation=2), {}),
    "flatten of bins": (lambda m, x: x.unsqueeze(1).repeat(1, 2, 1, 1).flatten(1, 2), {}),
    "frames stacked": (lambda m, x: x.mT.reshape(x.shape[0], -1, 12).mT, {}),
    "frames stacked behind padding": (lambda m, x: m.c(F.pad(x, (2, 0))).mT[:, :, :4].reshape(x.shape[0], -1, 8).mT,
                                      {"c": nn.Conv1d(4, 4, 3)}),
    "frames stacked, padding first": (lambda m, x: m.l(F.pad(x, (2, 0))[..., : x.shape[-1]].mT.reshape(len(x), -1, 12)).mT,
                                      {"l": nn.Linear(12, 3)}),
    "sub-pixel upsampling": (lambda m, x: m.c(x).unflatten(1, (4, 2)).transpose(2, 3).flatten(2), {"c": nn.Conv1d(4, 8, 1)}),
    "sub-pixel upsampling and a conv": (
        lambda m, x: m.d(F.pad(m.c(x).view(x.shape[0], 2, 4, -1).permute(0, 2, 3, 1).reshape(x.shape[0], 4, -1), (2, 0))),
        {"c": nn.Conv1d(4, 8, 1), "d": nn.Conv1d(4, 3, 3)}),
    "view": (lambda m, x: x.view(x.size(0), 2, 2, -1).sum(2), {}),
    "einsum": (lambda m, x: torch.einsum("bct,oc->bot", x, m.l.weight), {"l": nn.Linear(4, 3)}),
    "constant on the left": (lambda m, x: m.l.weight @ x, {"l": nn.Linear(4, 3)}),
    "split by sizes": (lambda m, x: torch.cat(x.split([1, 3], dim=1)[::-1], 1), {}),
    "gru, time first": (lambda m, x: m.r(x.permute(2, 0, 1))[0].permute(1, 2, 0), {"r": nn.GRU(4, 3, 2, bias=False)}),
    "gru with an explicit zero state": (
        lambda m, x: m.r(x.mT, torch.zeros(1, x.shape[0], 3, dtype=x.dtype))[0].mT, {"r": nn.GRU(4, 3, batch_first=True)}),
    "lstm": (lambda m, x: m.r(x.mT)[0].mT, {"r": nn.LSTM(4, 3, 2, batch_first=True)}),
    "upsampled and cut": (lambda m, x: F.interpolate(x, scale_factor=3)[..., : 3 * x.shape[-1]], {}),
    "old weight norm": (lambda m, x: m.c(F.pad(x, (2, 0))),
                        {"c": nn.utils.parametrizations.weight_norm(nn.Conv1d(4, 4, 3), dim=None)}),
    "spectral norm": (lambda m, x: m.c(F.pad(x, (2, 0))), {"c": nn.utils.parametrizations.spectral_norm(nn.Conv1d(4, 4, 3))}),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_form_streams_exactly(name: str) -> None:
    function, layers = FORMS[name]
    check(Function(function, **layers))


def test_batch_norm_that_has_no_affine_and_depthwise_2d() -> None:
    conv = nn.Conv2d(4, 4, (3, 3), groups=4, padding=(0, 1))
    layers = {"conv": conv, "norm": nn.BatchNorm2d(4, affine=False)}
    check(Function(lambda m, x: m.norm(m.conv(F.pad(x, (0, 0, 2, 0)))), **layers), (1, 4, 24, 5))


def test_pools_over_time_and_bins() -> None:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        y = F.avg_pool2d(F.pad(x, (0, 0, 1, 0)), 2, stride=(1, 2))
        return F.max_pool2d(y, (2, 2)).amax(3) + F.adaptive_max_pool2d(y, (None, 1)).squeeze(-1)[:, :, 1::2]

    check(Function(forward), (1, 4, 24, 8))


def test_time_in_the_last_of_four_axes() -> None:
    layers = {"conv": nn.Conv2d(2, 3, (5, 3), stride=(5, 2), dilation=(1, 2))}
    check(Function(lambda m, x: m.conv(F.pad(x, (4, 0))).squeeze(2), **layers), (1, 2, 5, 24), 3)


def test_frames_of_samples_one_axis_of_time() -> None:
    check(Function(lambda m, x: m.conv(F.pad(x.unsqueeze(1), (6, 0))), conv=nn.Conv1d(1, 3, 8, stride=4)), (1, 48), 1)


def test_a_new_operator_is_one_small_function(monkeypatch: pytest.MonkeyPatch) -> None:
    # What CONTRIBUTING tells a newcomer: one rule, one entry.
    from lightning_esp.conversion import conversion
    from lightning_esp.conversion.building import Builder
    from lightning_esp.conversion.rules.common import per_frame
    from lightning_esp.conversion.stream_tensor import StreamTensor

    def sinc(build: Builder, input: StreamTensor) -> StreamTensor:
        return per_frame(build, torch.sinc, input)

    module = Function(lambda m, x: torch.sinc(x))
    with pytest.raises(UnsupportedOperatorError, match="sinc has no streaming rule"):
        check(module)
    monkeypatch.setattr(conversion, "RULES", {**RULES, "sinc": sinc})
    check(module)


REFUSED: dict[str, tuple[Forward, dict[str, nn.Module], str]] = {
    "state that starts elsewhere": (lambda m, x: m.r(x.mT, torch.ones(1, x.shape[0], 3, dtype=x.dtype))[0].mT,
                                    {"r": nn.GRU(4, 3, batch_first=True)}, "starts from a state other than zero"),
    "projected lstm": (lambda m, x: m.r(x.mT)[0].mT, {"r": nn.LSTM(4, 3, batch_first=True, proj_size=2)}, "proj_size"),
    "plain rnn": (lambda m, x: m.r(x.mT)[0].mT, {"r": nn.RNN(4, 3, batch_first=True)}, "use nn.GRU"),
    "gru behind a valid conv": (lambda m, x: m.r(m.c(x).mT)[0].mT,
                                {"c": nn.Conv1d(4, 4, 3), "r": nn.GRU(4, 3, batch_first=True)}, "drop or await frames"),
    "ceil mode": (lambda m, x: F.max_pool1d(x, 3, 2, ceil_mode=True), {}, "ceil_mode=False"),
    "average without the padding": (lambda m, x: F.avg_pool1d(x, 3, 1, 1, count_include_pad=False), {}, "count_include_pad"),
    "linear over time": (lambda m, x: F.linear(x, m.l.weight), {"l": nn.Linear(24, 24)},
                         "takes sizes|take sizes from the input's shape"),
    "roll": (lambda m, x: x.roll(1, -1), {}, "shift by left padding"),
    "two paddings": (lambda m, x: m.c(F.pad(F.pad(x, (1, 0)), (1, 0), value=1.0)), {"c": nn.Conv1d(4, 4, 3)},
                     "already padded with another value"),
    "picked by a list": (lambda m, x: x[:, [2, 0]], {}, "slices and numbers"),
    "several batch axes": (lambda m, x: x.reshape(-1, x.shape[-1]).reshape(x.shape), {}, "mixes the batch"),
    "dropout that is always on": (lambda m, x: F.dropout(x, 0.0 + 0.5, training=True), {}, "training=self.training"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    function, layers, message = REFUSED[name]
    with pytest.raises(Exception, match=message) as raised:
        check(Function(function, **layers))
    assert raised.type.__name__ in ("UnsupportedOperatorError", "ConversionError")
