"""Pieces of random architectures: layers as a user would write them, plain offline modules, most of them causal."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.models.pieces import CausalConv, Chomp, Function, Maker, Piece, draw_width
from tests.support.choices import Choices


def _sizes(r: Choices) -> tuple[int, int]:
    return r.choice((1, 2, 3, 4, 5)), r.choice((1, 1, 2, 3, 5))


def causal_subclass(r: Choices, c: int) -> Piece:
    (k, d), o = _sizes(r), draw_width(r)
    return Piece(CausalConv(c, o, k, dilation=d, bias=r.chance(0.7)), o)


def functional_pad(r: Choices, c: int) -> Piece:
    (k, d), o = _sizes(r), draw_width(r)
    n = (k - 1) * d
    return Piece(Function(lambda m, x: m.conv(F.pad(x, (n, 0))), conv=nn.Conv1d(c, o, k, dilation=d)), o)


def pad_layer(r: Choices, c: int) -> Piece:
    (k, d), o = _sizes(r), draw_width(r)
    value = r.choice((0.0, 0.0, 0.75))
    return Piece(nn.Sequential(nn.ConstantPad1d(((k - 1) * d, 0), value), nn.Conv1d(c, o, k, dilation=d)), o)


def padded_once(r: Choices, c: int) -> Piece:
    return Piece(nn.Sequential(nn.ConstantPad1d((4, 0), 0.0), nn.Conv1d(c, c, 3), nn.Tanh(), nn.Conv1d(c, c, 3)), c)


def chomped(r: Choices, c: int) -> Piece:
    (k, d), o = _sizes(r), draw_width(r)
    n = (k - 1) * d
    return Piece(nn.Sequential(nn.Conv1d(c, o, k, dilation=d, padding=n), Chomp(n)), o)


def prepended(r: Choices, c: int) -> Piece:
    k, o = r.choice((2, 3, 4)), draw_width(r)

    def forward(m: nn.Module, x: Tensor) -> Tensor:
        return m.conv(torch.cat([x.new_zeros(x.shape[0], x.shape[1], k - 1), x], dim=-1))  # type: ignore[operator]

    return Piece(Function(forward, conv=nn.Conv1d(c, o, k)), o)


def depthwise(r: Choices, c: int) -> Piece:
    k, d = _sizes(r)
    return Piece(nn.Sequential(CausalConv(c, c, k, dilation=d, groups=c), nn.Conv1d(c, c, 1), nn.BatchNorm1d(c)), c)


def strided(r: Choices, c: int) -> Piece:
    k, s, o = r.choice((1, 2, 3, 4, 5)), r.choice((2, 3)), draw_width(r)
    conv = nn.Conv1d(c, o, k, stride=s)
    return Piece(Function(lambda m, x: m.conv(F.pad(x, (k - 1, 0))), conv=conv), o, s)


def weight_normed(r: Choices, c: int) -> Piece:
    k, o = r.choice((2, 3)), draw_width(r)
    return Piece(nn.utils.parametrizations.weight_norm(CausalConv(c, o, k)), o)


def raw_function(r: Choices, c: int) -> Piece:
    k, o = r.choice((1, 2, 3)), draw_width(r)
    weight = nn.Parameter(torch.zeros(o, c, k))
    return Piece(Function(lambda m, x: F.conv1d(F.pad(x, (k - 1, 0)), m.weight), weight=weight), o)


def transposed(r: Choices, c: int) -> Piece:
    k, s, o = r.choice((1, 2, 3, 4, 5)), r.choice((1, 2, 3)), draw_width(r)
    conv = nn.ConvTranspose1d(c, o, k, stride=s, output_padding=max(0, s - k) if s > 1 else 0)
    return Piece(Function(lambda m, x: m.conv(x)[:, :, : x.shape[-1] * s], conv=conv), o, 1, s)


def codec(r: Choices, c: int) -> Piece:
    """Frames of samples with the least padding, and samples again; offline, an incomplete last frame does not exist."""
    s, o = r.choice((2, 3)), draw_width(r)
    k = s * r.choice((1, 2)) + r.choice((0, 1))
    down, up = nn.Conv1d(c, o, k, stride=s), nn.ConvTranspose1d(o, c, k, stride=s)

    def forward(m: nn.Module, x: Tensor) -> Tensor:
        return m.up(torch.tanh(m.down(F.pad(x, (k - s, 0)))))[..., : x.shape[-1]]  # type: ignore[operator]

    return Piece(Function(forward, down=down, up=up), c)


def upsampled(r: Choices, c: int) -> Piece:
    s = r.choice((2, 3))
    if r.chance(0.5):
        return Piece(nn.Upsample(scale_factor=s), c, 1, s)
    return Piece(Function(lambda m, x: x.repeat_interleave(s, dim=-1)), c, 1, s)


def up_and_down(r: Choices, c: int) -> Piece:
    s = r.choice((2, 3))
    pool = r.choice((nn.AvgPool1d, nn.MaxPool1d))
    return Piece(nn.Sequential(nn.Upsample(scale_factor=s), CausalConv(c, c, 2), pool(s)), c)


def pooled(r: Choices, c: int) -> Piece:
    k, s = r.choice((2, 3, 4)), r.choice((1, 2, 3))
    average = nn.AvgPool1d(k, stride=s)
    if r.chance(0.5):
        return Piece(nn.Sequential(nn.ConstantPad1d((k - 1, 0), 0.0), average), c, s)
    return Piece(nn.Sequential(nn.ReLU(), nn.ConstantPad1d((k - 1, 0), 0.0), nn.MaxPool1d(k, stride=s)), c, s)


def subsampled(r: Choices, c: int) -> Piece:
    s = r.choice((2, 3))
    return Piece(Function(lambda m, x: x[:, :, ::s]), c, s)


def batch_normed(r: Choices, c: int) -> Piece:
    return Piece(nn.Sequential(nn.BatchNorm1d(c, affine=r.chance(0.8)), activation(r)), c)


def activation(r: Choices) -> nn.Module:
    kinds: tuple[Callable[[], nn.Module], ...] = (
        nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid, nn.SiLU, nn.GELU, nn.Tanh, nn.Sigmoid, nn.ELU, nn.LeakyReLU,
        nn.PReLU, nn.Softplus, nn.Mish, lambda: nn.ReLU(inplace=True), lambda: nn.Hardtanh(-1, 1),
    )  # fmt: skip
    return r.choice(kinds)()


def activated(r: Choices, c: int) -> Piece:
    return Piece(nn.Sequential(activation(r), nn.Dropout(0.2), nn.Identity()), c)


def channel_norm(r: Choices, c: int) -> Piece:
    norm = r.choice((nn.LayerNorm, nn.RMSNorm))(c)
    return Piece(Function(lambda m, x: m.norm(x.transpose(1, 2)).transpose(1, 2).contiguous(), norm=norm), c)


def linear(r: Choices, c: int) -> Piece:
    o = draw_width(r)
    if r.chance(0.5):
        weight = nn.Parameter(torch.zeros(c, o))
        return Piece(Function(lambda m, x: (x.permute(0, 2, 1) @ m.weight).movedim(2, 1), weight=weight), o)
    return Piece(Function(lambda m, x: m.layer(x.transpose(1, 2)).transpose(1, 2), layer=nn.Linear(c, o)), o)


def mixed(r: Choices, c: int) -> Piece:
    weight = nn.Parameter(torch.zeros(c, c))
    return Piece(Function(lambda m, x: torch.einsum("oc,bct->bot", m.weight, x) + x, weight=weight), c)


def squeeze_excitation(r: Choices, c: int) -> Piece:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        return x * torch.sigmoid(m.up(F.silu(m.down(x))))  # type: ignore[operator]

    return Piece(Function(forward, down=nn.Conv1d(c, 2, 1), up=nn.Conv1d(2, c, 1)), c)


def gated(r: Choices, c: int) -> Piece:
    conv = CausalConv(c, 2 * c, r.choice((1, 2, 3)))
    if r.chance(0.5):
        return Piece(Function(lambda m, x: F.glu(m.conv(x), dim=1), conv=conv), c)

    def forward(m: nn.Module, x: Tensor) -> Tensor:
        value, gate = m.conv(x).chunk(2, dim=1)  # type: ignore[operator]
        return torch.tanh(value) * gate.sigmoid()

    return Piece(Function(forward, conv=conv), c)


def channels_only(r: Choices, c: int) -> Piece:
    return Piece(Function(lambda m, x: x.softmax(dim=1) - x.mean(1, keepdim=True) + F.normalize(x.cumsum(1), dim=1)), c)


def arithmetic(r: Choices, c: int) -> Piece:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        y = 2 - x * m.scale + m.shift
        y += x.to(x.dtype)
        y = y + x[:, :1].expand(-1, x.shape[1], -1)
        return torch.clamp(y / 3, -4, 4) + x[:, :1] * 0.5 + x.unsqueeze(1).squeeze(1)

    scale, shift = nn.Parameter(torch.ones(c, 1)), nn.Parameter(torch.ones(1, c, 1))
    return Piece(Function(forward, scale=scale, shift=shift), c)


def sliced(r: Choices, c: int) -> Piece:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        first, *_ = x.unbind(1)
        parts = [x[:, 1:], x.narrow(1, 0, 1), first[:, None], x.select(1, 1).unsqueeze(1), x[:, -1:, ...]]
        return torch.cat(parts, dim=1)

    return Piece(Function(forward), c + 3)


def shifted(r: Choices, c: int) -> Piece:
    n = r.choice((1, 2, 4))
    if r.chance(0.5):
        return Piece(Function(lambda m, x: x - 0.5 * F.pad(x, (n, -n))), c)
    return Piece(Function(lambda m, x: torch.maximum(x, F.pad(x, (n, 0))[:, :, : x.shape[2]])), c)


def stacked(r: Choices, c: int) -> Piece:
    return Piece(Function(lambda m, x: torch.stack([x, x.tanh()], dim=2).flatten(1, 2)), 2 * c)


def largest_bin(r: Choices, c: int) -> Piece:
    return Piece(Function(lambda m, x: torch.cat([x, x.max(dim=1, keepdim=True).values, x.flip(1)], 1)), 2 * c + 1)


def section_2d(r: Choices, c: int) -> Piece:
    k, d = r.choice((1, 2, 3)), r.choice((1, 2))
    conv = nn.Conv2d(1, 2, (3, k), dilation=(1, d), padding=(1, 0))

    def forward(m: nn.Module, x: Tensor) -> Tensor:
        y = m.norm(m.conv(F.pad(x.unsqueeze(1), ((k - 1) * d, 0, 0, 0))))  # type: ignore[operator]
        return torch.relu(y).flatten(1, 2) + y.mean(2).repeat(1, c, 1)

    return Piece(Function(forward, conv=conv, norm=nn.BatchNorm2d(2)), 2 * c)


def pooled_bins(r: Choices, c: int) -> Piece:
    k = r.choice((1, 2, 3))

    def forward(m: nn.Module, x: Tensor) -> Tensor:
        y = F.pad(x.unsqueeze(3), (0, 0, k - 1, 0)).transpose(1, 3)  # [batch, 1, time, bins]
        y = F.avg_pool2d(y, (k, 1), stride=1) + F.max_pool2d(y, (k, 1), stride=1)
        return torch.cat([x, F.adaptive_avg_pool2d(y, (None, 1)).squeeze(3)], dim=1)

    return Piece(Function(forward), c + 1)


def recurrent(r: Choices, c: int) -> Piece:
    hidden, layers = r.choice((2, 3)), r.choice((1, 1, 2))
    kind = r.choice((nn.GRU, nn.LSTM))
    first = r.chance(0.5)
    rnn = kind(c, hidden, layers, batch_first=first)
    order = (0, 2, 1) if first else (2, 0, 1)
    back = (0, 2, 1) if first else (1, 2, 0)
    return Piece(Function(lambda m, x: m.rnn(x.permute(*order))[0].permute(back), rnn=rnn), hidden)


def transposed_2d(r: Choices, c: int) -> Piece:
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


def hand_written(r: Choices, c: int) -> Piece:
    return Piece(HandWritten(c, r.choice((1, 2, 5))), c)


SIMPLE: tuple[Maker, ...] = (
    causal_subclass, functional_pad, pad_layer, padded_once, chomped, prepended, depthwise, strided, weight_normed, raw_function,
    transposed, codec, upsampled, up_and_down, pooled, subsampled, batch_normed, activated, channel_norm, linear,
    mixed, squeeze_excitation, gated, channels_only, arithmetic, sliced, shifted, stacked, largest_bin, section_2d,
    pooled_bins, recurrent, transposed_2d, hand_written,
)  # fmt: skip
