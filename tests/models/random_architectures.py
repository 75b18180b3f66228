"""Random streaming architectures, written as a user would: plain offline modules, most of them causal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.models.pieces import CausalConv, Chomp, Function, Maker, Piece, draw_width
from tests.models.random_channels import CHANNELS
from tests.models.random_views import NORMS, VIEWS
from tests.models.random_wrappers import WRAPPERS


def _sizes(r: Random) -> tuple[int, int]:
    return r.choice((1, 2, 3, 4, 5)), r.choice((1, 1, 2, 3, 5))


def causal_subclass(r: Random, c: int) -> Piece:
    (k, d), o = _sizes(r), draw_width(r)
    return Piece(CausalConv(c, o, k, dilation=d, bias=r.random() < 0.7), o)


def functional_pad(r: Random, c: int) -> Piece:
    (k, d), o = _sizes(r), draw_width(r)
    n = (k - 1) * d
    return Piece(Function(lambda m, x: m.conv(F.pad(x, (n, 0))), conv=nn.Conv1d(c, o, k, dilation=d)), o)


def pad_layer(r: Random, c: int) -> Piece:
    (k, d), o = _sizes(r), draw_width(r)
    value = r.choice((0.0, 0.0, 0.75))
    return Piece(nn.Sequential(nn.ConstantPad1d(((k - 1) * d, 0), value), nn.Conv1d(c, o, k, dilation=d)), o)


def padded_once(r: Random, c: int) -> Piece:
    return Piece(nn.Sequential(nn.ConstantPad1d((4, 0), 0.0), nn.Conv1d(c, c, 3), nn.Tanh(), nn.Conv1d(c, c, 3)), c)


def chomped(r: Random, c: int) -> Piece:
    (k, d), o = _sizes(r), draw_width(r)
    n = (k - 1) * d
    return Piece(nn.Sequential(nn.Conv1d(c, o, k, dilation=d, padding=n), Chomp(n)), o)


def prepended(r: Random, c: int) -> Piece:
    k, o = r.choice((2, 3, 4)), draw_width(r)

    def forward(m: nn.Module, x: Tensor) -> Tensor:
        return m.conv(torch.cat([x.new_zeros(x.shape[0], x.shape[1], k - 1), x], dim=-1))  # type: ignore[operator]

    return Piece(Function(forward, conv=nn.Conv1d(c, o, k)), o)


def depthwise(r: Random, c: int) -> Piece:
    k, d = _sizes(r)
    return Piece(nn.Sequential(CausalConv(c, c, k, dilation=d, groups=c), nn.Conv1d(c, c, 1), nn.BatchNorm1d(c)), c)


def strided(r: Random, c: int) -> Piece:
    k, s, o = r.choice((1, 2, 3, 4, 5)), r.choice((2, 3)), draw_width(r)
    conv = nn.Conv1d(c, o, k, stride=s)
    return Piece(Function(lambda m, x: m.conv(F.pad(x, (k - 1, 0))), conv=conv), o, s)


def weight_normed(r: Random, c: int) -> Piece:
    k, o = r.choice((2, 3)), draw_width(r)
    return Piece(nn.utils.parametrizations.weight_norm(CausalConv(c, o, k)), o)


def raw_function(r: Random, c: int) -> Piece:
    k, o = r.choice((1, 2, 3)), draw_width(r)
    weight = nn.Parameter(torch.zeros(o, c, k))
    return Piece(Function(lambda m, x: F.conv1d(F.pad(x, (k - 1, 0)), m.weight), weight=weight), o)


def transposed(r: Random, c: int) -> Piece:
    k, s, o = r.choice((1, 2, 3, 4, 5)), r.choice((1, 2, 3)), draw_width(r)
    conv = nn.ConvTranspose1d(c, o, k, stride=s, output_padding=max(0, s - k) if s > 1 else 0)
    return Piece(Function(lambda m, x: m.conv(x)[:, :, : x.shape[-1] * s], conv=conv), o, 1, s)


def down_and_up(r: Random, c: int) -> Piece:
    s = r.choice((2, 3))
    inner = sequence(r, c, 2)
    if (inner.stride, inner.up) != (1, 1):
        return inner
    down, up = (
        nn.Conv1d(c, c, s + 1, stride=s),
        nn.ConvTranspose1d(inner.channels, c, s + r.choice((0, 1, 2)), stride=s),
    )

    def forward(m: nn.Module, x: Tensor) -> Tensor:
        y = m.inner(torch.relu(m.down(F.pad(x, (s, 0)))))  # type: ignore[operator]
        return torch.cat([x, m.up(y)[..., : x.shape[-1]]], dim=1)  # type: ignore[operator]

    return Piece(Function(forward, down=down, up=up, inner=inner.module), 2 * c)


def codec(r: Random, c: int) -> Piece:
    """Frames of samples with the least padding, and samples again; offline, an incomplete last frame does not exist."""
    s, o = r.choice((2, 3)), draw_width(r)
    k = s * r.choice((1, 2)) + r.choice((0, 1))
    down, up = nn.Conv1d(c, o, k, stride=s), nn.ConvTranspose1d(o, c, k, stride=s)

    def forward(m: nn.Module, x: Tensor) -> Tensor:
        return m.up(torch.tanh(m.down(F.pad(x, (k - s, 0)))))[..., : x.shape[-1]]  # type: ignore[operator]

    return Piece(Function(forward, down=down, up=up), c)


def upsampled(r: Random, c: int) -> Piece:
    s = r.choice((2, 3))
    if r.random() < 0.5:
        return Piece(nn.Upsample(scale_factor=s), c, 1, s)
    return Piece(Function(lambda m, x: x.repeat_interleave(s, dim=-1)), c, 1, s)


def up_and_down(r: Random, c: int) -> Piece:
    s = r.choice((2, 3))
    pool = r.choice((nn.AvgPool1d, nn.MaxPool1d))
    return Piece(nn.Sequential(nn.Upsample(scale_factor=s), CausalConv(c, c, 2), pool(s)), c)


def pooled(r: Random, c: int) -> Piece:
    k, s = r.choice((2, 3, 4)), r.choice((1, 2, 3))
    average = nn.AvgPool1d(k, stride=s)
    if r.random() < 0.5:
        return Piece(nn.Sequential(nn.ConstantPad1d((k - 1, 0), 0.0), average), c, s)
    return Piece(nn.Sequential(nn.ReLU(), nn.ConstantPad1d((k - 1, 0), 0.0), nn.MaxPool1d(k, stride=s)), c, s)


def subsampled(r: Random, c: int) -> Piece:
    s = r.choice((2, 3))
    return Piece(Function(lambda m, x: x[:, :, ::s]), c, s)


def batch_normed(r: Random, c: int) -> Piece:
    return Piece(nn.Sequential(nn.BatchNorm1d(c, affine=r.random() < 0.8), activation(r)), c)


def activation(r: Random) -> nn.Module:
    kinds: tuple[Callable[[], nn.Module], ...] = (
        nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid, nn.SiLU, nn.GELU, nn.Tanh, nn.Sigmoid, nn.ELU, nn.LeakyReLU,
        nn.PReLU, nn.Softplus, nn.Mish, lambda: nn.ReLU(inplace=True), lambda: nn.Hardtanh(-1, 1),
    )  # fmt: skip
    return r.choice(kinds)()


def activated(r: Random, c: int) -> Piece:
    return Piece(nn.Sequential(activation(r), nn.Dropout(0.2), nn.Identity()), c)


def channel_norm(r: Random, c: int) -> Piece:
    norm = r.choice((nn.LayerNorm, nn.RMSNorm))(c)
    return Piece(Function(lambda m, x: m.norm(x.transpose(1, 2)).transpose(1, 2).contiguous(), norm=norm), c)


def linear(r: Random, c: int) -> Piece:
    o = draw_width(r)
    if r.random() < 0.5:
        weight = nn.Parameter(torch.zeros(c, o))
        return Piece(Function(lambda m, x: (x.permute(0, 2, 1) @ m.weight).movedim(2, 1), weight=weight), o)
    return Piece(Function(lambda m, x: m.layer(x.transpose(1, 2)).transpose(1, 2), layer=nn.Linear(c, o)), o)


def mixed(r: Random, c: int) -> Piece:
    weight = nn.Parameter(torch.zeros(c, c))
    return Piece(Function(lambda m, x: torch.einsum("oc,bct->bot", m.weight, x) + x, weight=weight), c)


def squeeze_excitation(r: Random, c: int) -> Piece:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        return x * torch.sigmoid(m.up(F.silu(m.down(x))))  # type: ignore[operator]

    return Piece(Function(forward, down=nn.Conv1d(c, 2, 1), up=nn.Conv1d(2, c, 1)), c)


def gated(r: Random, c: int) -> Piece:
    conv = CausalConv(c, 2 * c, r.choice((1, 2, 3)))
    if r.random() < 0.5:
        return Piece(Function(lambda m, x: F.glu(m.conv(x), dim=1), conv=conv), c)

    def forward(m: nn.Module, x: Tensor) -> Tensor:
        value, gate = m.conv(x).chunk(2, dim=1)  # type: ignore[operator]
        return torch.tanh(value) * gate.sigmoid()

    return Piece(Function(forward, conv=conv), c)


def channels_only(r: Random, c: int) -> Piece:
    return Piece(Function(lambda m, x: x.softmax(dim=1) - x.mean(1, keepdim=True) + F.normalize(x.cumsum(1), dim=1)), c)


def arithmetic(r: Random, c: int) -> Piece:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        y = 2 - x * m.scale + m.shift
        y += x.to(x.dtype)
        y = y + x[:, :1].expand(-1, x.shape[1], -1)
        return torch.clamp(y / 3, -4, 4) + x[:, :1] * 0.5 + x.unsqueeze(1).squeeze(1)

    scale, shift = nn.Parameter(torch.ones(c, 1)), nn.Parameter(torch.ones(1, c, 1))
    return Piece(Function(forward, scale=scale, shift=shift), c)


def sliced(r: Random, c: int) -> Piece:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        first, *_ = x.unbind(1)
        parts = [x[:, 1:], x.narrow(1, 0, 1), first[:, None], x.select(1, 1).unsqueeze(1), x[:, -1:, ...]]
        return torch.cat(parts, dim=1)

    return Piece(Function(forward), c + 3)


def shifted(r: Random, c: int) -> Piece:
    n = r.choice((1, 2, 4))
    if r.random() < 0.5:
        return Piece(Function(lambda m, x: x - 0.5 * F.pad(x, (n, -n))), c)
    return Piece(Function(lambda m, x: torch.maximum(x, F.pad(x, (n, 0))[:, :, : x.shape[2]])), c)


def stacked(r: Random, c: int) -> Piece:
    return Piece(Function(lambda m, x: torch.stack([x, x.tanh()], dim=2).flatten(1, 2)), 2 * c)


def largest_bin(r: Random, c: int) -> Piece:
    return Piece(Function(lambda m, x: torch.cat([x, x.max(dim=1, keepdim=True).values, x.flip(1)], 1)), 2 * c + 1)


def section_2d(r: Random, c: int) -> Piece:
    k, d = r.choice((1, 2, 3)), r.choice((1, 2))
    conv = nn.Conv2d(1, 2, (3, k), dilation=(1, d), padding=(1, 0))

    def forward(m: nn.Module, x: Tensor) -> Tensor:
        y = m.norm(m.conv(F.pad(x.unsqueeze(1), ((k - 1) * d, 0, 0, 0))))  # type: ignore[operator]
        return torch.relu(y).flatten(1, 2) + y.mean(2).repeat(1, c, 1)

    return Piece(Function(forward, conv=conv, norm=nn.BatchNorm2d(2)), 2 * c)


def pooled_bins(r: Random, c: int) -> Piece:
    k = r.choice((1, 2, 3))

    def forward(m: nn.Module, x: Tensor) -> Tensor:
        y = F.pad(x.unsqueeze(3), (0, 0, k - 1, 0)).transpose(1, 3)  # [batch, 1, time, bins]
        y = F.avg_pool2d(y, (k, 1), stride=1) + F.max_pool2d(y, (k, 1), stride=1)
        return torch.cat([x, F.adaptive_avg_pool2d(y, (None, 1)).squeeze(3)], dim=1)

    return Piece(Function(forward), c + 1)


def recurrent(r: Random, c: int) -> Piece:
    hidden, layers = r.choice((2, 3)), r.choice((1, 1, 2))
    kind = r.choice((nn.GRU, nn.LSTM))
    first = r.random() < 0.5
    rnn = kind(c, hidden, layers, batch_first=first)
    order = (0, 2, 1) if first else (2, 0, 1)
    back = (0, 2, 1) if first else (1, 2, 0)
    return Piece(Function(lambda m, x: m.rnn(x.permute(*order))[0].permute(back), rnn=rnn), hidden)


def transposed_2d(r: Random, c: int) -> Piece:
    conv = nn.ConvTranspose2d(1, 1, (3, 3), stride=(1, 1), padding=(1, 0))
    return Piece(Function(lambda m, x: m.conv(x.unsqueeze(1))[..., : x.shape[-1]].squeeze(1), conv=conv), c)


class HandWritten(nn.Module):
    """A module that brings its own streaming form, inside a model that does not."""

    def __init__(self, channels: int, frames: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, frames + 1)
        self.shape = (channels, frames)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.conv(F.pad(x, (self.shape[1], 0)))) + x

    def streaming_forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        whole = torch.cat([past, x], dim=2)
        return torch.tanh(self.conv(whole)) + x, whole[:, :, -self.shape[1] :]

    def streaming_caches(self) -> dict[str, tuple[int, ...]]:
        return {"past": self.shape}


def hand_written(r: Random, c: int) -> Piece:
    return Piece(HandWritten(c, r.choice((1, 2, 5))), c)


# Combinations of pieces.


def residual(r: Random, c: int) -> Piece:
    inner = sequence(r, c, r.choice((1, 2, 3)))
    if (inner.stride, inner.up) != (1, 1):
        return inner
    if inner.channels == c:
        return Piece(Function(lambda m, x: m.inner(x) + x, inner=inner.module), c)
    skip = nn.Conv1d(c, inner.channels, 1)
    return Piece(Function(lambda m, x: m.inner(x).add_(m.skip(x)), inner=inner.module, skip=skip), inner.channels)


def strided_residual(r: Random, c: int) -> Piece:
    s, o, k = r.choice((2, 3)), draw_width(r), r.choice((2, 3, 5))
    main = nn.Sequential(CausalConv(c, o, k, stride=s), nn.BatchNorm1d(o), nn.ReLU(), CausalConv(o, o, 3))
    return Piece(
        Function(lambda m, x: F.relu(m.main(x) + m.skip(x)), main=main, skip=nn.Conv1d(c, o, 1, stride=s)), o, s
    )


def cropped_residual(r: Random, c: int) -> Piece:
    k, d = r.choice((2, 3)), r.choice((1, 2))
    n = (k - 1) * d
    return Piece(Function(lambda m, x: torch.tanh(m.conv(x)) + x[:, :, n:], conv=nn.Conv1d(c, c, k, dilation=d)), c)


def valid(r: Random, c: int) -> Piece:
    k, s, o = r.choice((2, 3)), r.choice((1, 1, 2)), draw_width(r)
    return Piece(nn.Conv1d(c, o, k, stride=s), o, s)


def parallel(r: Random, c: int) -> Piece:
    a, b = sequence(r, c, r.choice((1, 2))), sequence(r, c, 1)
    if a.stride * b.up != b.stride * a.up:
        return a
    if r.random() < 0.5:
        both = a.channels + b.channels
        return Piece(
            Function(lambda m, x: torch.cat([m.a(x), m.b(x)], 1), a=a.module, b=b.module), both, a.stride, a.up
        )
    fit = nn.Conv1d(b.channels, a.channels, 1)
    join = Function(lambda m, x: m.a(x) * torch.sigmoid(m.fit(m.b(x))), a=a.module, b=b.module, fit=fit)
    return Piece(join, a.channels, a.stride, a.up)


def dense(r: Random, c: int) -> Piece:
    a = sequence(r, c, 1)
    if (a.stride, a.up) != (1, 1):
        return a
    return Piece(Function(lambda m, x: torch.cat([x, m.a(x)], dim=1), a=a.module), c + a.channels)


def delayed_branch(r: Random, c: int) -> Piece:
    n = r.choice((1, 2, 3))
    conv = nn.Conv1d(c, c, n + 1)
    return Piece(Function(lambda m, x: m.conv(x) + x[..., : x.shape[-1] - n], conv=conv), c)


# What has no streaming form.


def symmetric(r: Random, c: int) -> Piece:
    return Piece(nn.Conv1d(c, c, 3, padding=r.choice((1, "same"))), c)


def global_mean(r: Random, c: int) -> Piece:
    return Piece(Function(lambda m, x: x - x.mean(-1, keepdim=True)), c)


def global_pool(r: Random, c: int) -> Piece:
    return Piece(Function(lambda m, x: x * m.pool(x), pool=nn.AdaptiveAvgPool1d(1)), c)


def running_sum(r: Random, c: int) -> Piece:
    return Piece(Function(lambda m, x: x.cumsum(-1)), c)


def bidirectional(r: Random, c: int) -> Piece:
    rnn = nn.GRU(c, 2, batch_first=True, bidirectional=True)
    return Piece(Function(lambda m, x: m.rnn(x.mT)[0].mT, rnn=rnn), 4)


def reversed_time(r: Random, c: int) -> Piece:
    return Piece(Function(lambda m, x: x + x.flip(-1)), c)


def group_norm(r: Random, c: int) -> Piece:
    return Piece(nn.GroupNorm(1, c), c)


def attention(r: Random, c: int) -> Piece:
    return Piece(Function(lambda m, x: x @ torch.softmax(x.mT @ x, dim=1)), c)


def last_frame(r: Random, c: int) -> Piece:
    return Piece(Function(lambda m, x: x - x[:, :, -1:]), c)


def time_loop(r: Random, c: int) -> Piece:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        state, outputs = torch.zeros_like(x[:, :, 0]), []
        for t in range(x.shape[-1]):
            state = 0.5 * state + x[:, :, t]
            outputs.append(state)
        return torch.stack(outputs, dim=-1)

    return Piece(Function(forward), c)


def late_padding(r: Random, c: int) -> Piece:
    return Piece(Function(lambda m, x: F.pad(m.conv(x), (2, 0)), conv=nn.Conv1d(c, c, 3)), c)


PLAIN: tuple[Maker, ...] = (
    causal_subclass, functional_pad, pad_layer, padded_once, chomped, prepended, depthwise, strided, weight_normed, raw_function,
    transposed, down_and_up, codec, upsampled, up_and_down, pooled, subsampled, batch_normed, activated, channel_norm, linear,
    mixed, squeeze_excitation, gated, channels_only, arithmetic, sliced, shifted, stacked, largest_bin, section_2d,
    pooled_bins, recurrent, transposed_2d, hand_written, residual, strided_residual, parallel, dense,
    # Twice, since they choose between several operators.
    linear, gated, upsampled, recurrent, channel_norm,
)  # fmt: skip
LAYERS = (*PLAIN, *VIEWS, *NORMS, *CHANNELS)
VALID: tuple[Maker, ...] = (valid, cropped_residual, delayed_branch)
REFUSED: tuple[Maker, ...] = (
    symmetric, global_mean, global_pool, running_sum, bidirectional, reversed_time, group_norm, attention, last_frame,
    time_loop, late_padding,
)  # fmt: skip


class Choices(Random):
    """Random choices, and the pieces to choose from.

    Args:
        seed: what follows from it stays the same.
        layers: the pieces.
    """

    def __init__(self, seed: int, layers: tuple[Maker, ...]) -> None:
        super().__init__(seed)
        self.layers = layers


def sequence(r: Random, channels: int, length: int) -> Piece:
    """A few pieces after each other."""
    assert isinstance(r, Choices)
    modules, stride, up = [], 1, 1
    for _ in range(length):
        piece = r.choice(r.layers)(r, channels)
        modules.append(piece.module)
        channels, stride, up = piece.channels, stride * piece.stride, up * piece.up
    return Piece(nn.Sequential(*modules), channels, stride, up)


@dataclass(frozen=True)
class Architecture:
    """A random model with an example of its input, whose time axis is `axis`."""

    module: nn.Module
    example: Tensor
    expected_refusal: str
    axis: int = 2

    @property
    def frames(self) -> int:
        """Of the example."""
        return self.example.shape[self.axis]

    def recordings(self, count: int, frames: int, generator: torch.Generator) -> Tensor:
        """Noise of any length, as the model takes it."""
        shape = list(self.example.shape)
        shape[0], shape[self.axis] = count, frames
        return torch.randn(shape, generator=generator, dtype=torch.float64)


def draw(seed: int, plain: bool = False) -> Architecture:
    """Build the architecture of a seed, with random weights, biases and batch-norm statistics, in float64.

    Args:
        seed: which one.
        plain: only of the pieces that came first, `[batch, channels, time]` with one output: what seeds meant then.
    """
    r = Choices(seed, PLAIN if plain else LAYERS)
    channels = draw_width(r)
    piece = sequence(r, channels, r.choice((1, 2, 3, 4)))
    modules, width, refused = [piece.module], piece.channels, ""
    if r.random() < 0.15 and piece.stride <= 2 * piece.up:
        for _ in range(r.choice((1, 2))):
            last = r.choice(VALID)(r, width)
            modules.append(last.module)
            width = last.channels
    if r.random() < 0.1:
        maker = r.choice(REFUSED)
        modules.append(maker(r, width).module)
        refused = maker.__name__
    module = nn.Sequential(*modules) if len(modules) > 1 else modules[0]
    generator = torch.Generator().manual_seed(seed)
    layout = None if plain or r.random() < 0.5 else r.choice(WRAPPERS)
    # Branches that go down and up again may agree in length only for multiples of their strides, and many layers without
    # padding may need more frames.
    for frames in (r.choice((24, 30, 37)), 24, 72, 216):
        example = torch.randn(1, channels, frames, generator=generator, dtype=torch.float64)
        if takes(randomise(module, seed), example):
            if layout is None:
                return Architecture(module, example, refused)
            wrapped = layout(r, module, example)
            return Architecture(randomise(wrapped.module, seed), wrapped.example, refused, wrapped.axis)
    raise AssertionError(f"seed {seed}: forward runs on no example")


def takes(module: nn.Module, example: Tensor) -> bool:
    """Whether the offline forward runs on recordings of this length."""
    try:
        with torch.no_grad():
            module(example.clone())
    except RuntimeError:
        return False
    return True


def randomise(module: nn.Module, seed: int) -> nn.Module:
    """Give a module random weights, biases and batch-norm statistics, in float64 and evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            scale = 1.0 if parameter.ndim < 2 else max(1, parameter[0].numel()) ** -0.5
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype) * scale)
        for name, buffer in module.named_buffers():
            if name.endswith("running_var"):
                buffer.copy_(torch.rand(buffer.shape, generator=generator, dtype=buffer.dtype) + 0.5)
            elif name.endswith("running_mean"):
                buffer.copy_(torch.randn(buffer.shape, generator=generator, dtype=buffer.dtype))
    return module
