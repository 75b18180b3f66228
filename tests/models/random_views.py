"""Pieces of random architectures: views that share memory with what is read later, and norms in every place."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.models.pieces import CausalConv, Function, Maker, Piece, draw_width
from tests.support.choices import Choices

View = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]


def view(r: Choices) -> View:
    """Another shape for `[batch, channels, time]`, and the way back."""
    return r.choice(
        (
            (lambda x: x.unsqueeze(1), lambda y: y.squeeze(1)),
            (lambda x: x.unsqueeze(2), lambda y: y.squeeze(2)),
            (lambda x: x[..., None], lambda y: y.squeeze(-1)),
            (lambda x: x.reshape(x.shape[0], x.shape[1], x.shape[2], 1), lambda y: y.flatten(2)),
            (lambda x: x.view(x.shape[0], 1, x.shape[1], x.shape[2]), lambda y: y.flatten(1, 2)),
            (lambda x: x.unflatten(1, (x.shape[1], 1)), lambda y: y.flatten(1, 2)),
        )
    )


def in_place(r: Choices) -> Callable[[Tensor], Tensor]:
    """An operation that the chip does in the memory of its input."""
    return r.choice(
        (
            torch.relu, torch.sigmoid, torch.tanh, F.hardswish, F.silu, lambda y: y.clamp(-0.5, 0.5), lambda y: y + 0.25,
            lambda y: y * 0.5, lambda y: torch.maximum(y, y * 0.25), F.relu6,
        )
    )  # fmt: skip


def late_reader(r: Choices, c: int) -> Piece:
    """The original is read behind the view that was changed."""
    (there, back), work = view(r), in_place(r)
    if r.chance(0.5):
        return Piece(Function(lambda m, x: x + back(work(there(x)))), c)
    return Piece(Function(lambda m, x: torch.cat([back(work(there(x))), x], dim=1)), 2 * c)


def late_reader_behind_layer(r: Choices, c: int) -> Piece:
    """The same with the output of a layer, read once more by another layer."""
    (there, back), work, o = view(r), in_place(r), draw_width(r)

    def forward(m: nn.Module, x: Tensor) -> Tensor:
        h = m.first(x)  # type: ignore[operator]
        return m.second(h) * back(work(there(h)))  # type: ignore[operator]

    return Piece(Function(forward, first=CausalConv(c, o, 2), second=nn.Conv1d(o, o, 1)), o)


def masked(r: Choices, c: int) -> Piece:
    """A mask out of a picture of the input, times the input."""
    norm = nn.BatchNorm2d(1) if r.chance(0.5) else nn.Identity()

    def forward(m: nn.Module, x: Tensor) -> Tensor:
        y = m.conv(m.norm(x.unsqueeze(1)))  # type: ignore[operator]
        return x * torch.sigmoid(y).squeeze(1)

    return Piece(Function(forward, norm=norm, conv=nn.Conv2d(1, 1, 1)), c)


def banded(r: Choices, c: int) -> Piece:
    """Bands of channels are reduced, beside the channels themselves."""
    bands = r.choice([n for n in range(1, c + 1) if c % n == 0])
    reduce: Callable[[Tensor], Tensor] = r.choice((lambda y: y.mean(2), lambda y: y.amax(2), lambda y: y.sum(2)))

    def forward(m: nn.Module, x: Tensor) -> Tensor:
        return torch.cat([x, reduce(x.reshape(x.shape[0], bands, x.shape[1] // bands, x.shape[2]))], dim=1)

    return Piece(Function(forward), c + bands)


def shuffled(r: Choices, c: int) -> Piece:
    """Channels of two branches, shuffled by a view."""

    def forward(m: nn.Module, x: Tensor) -> Tensor:
        y = torch.stack([m.conv(x), torch.relu(x)], dim=1)  # type: ignore[operator]
        b, two, channels, frames = y.shape
        return y.transpose(1, 2).reshape(b, two * channels, frames)

    return Piece(Function(forward, conv=CausalConv(c, c, 2)), 2 * c)


VIEWS: tuple[Maker, ...] = (late_reader, late_reader_behind_layer, masked, banded, shuffled)


def norm_before(r: Choices, c: int) -> Piece:
    """A norm on what comes, an activation, and only then a layer with padding."""
    o, act = draw_width(r), in_place(r)

    def forward(m: nn.Module, x: Tensor) -> Tensor:
        return m.conv(act(m.norm(x)))  # type: ignore[operator]

    return Piece(Function(forward, norm=nn.BatchNorm1d(c), conv=CausalConv(c, o, 3)), o)


def norm_of_sum(r: Choices, c: int) -> Piece:
    """A norm on a residual, in both branches or behind them."""
    if r.chance(0.5):
        return Piece(Function(lambda m, x: m.norm(x + torch.relu(m.conv(x))), norm=nn.BatchNorm1d(c), conv=CausalConv(c, c, 2)), c)  # fmt: skip
    return Piece(Function(lambda m, x: m.norm(x) + torch.tanh(m.conv(x)), norm=nn.BatchNorm1d(c), conv=CausalConv(c, c, 2)), c)  # fmt: skip


def norm_of_picture(r: Choices, c: int) -> Piece:
    """Batch norm over bins, as channels of a transposed picture, or over the only plane."""
    if r.chance(0.5):
        # Contiguous, since torch takes the gradient of a batch norm from other frames where the strides are odd.
        return Piece(
            Function(
                lambda m, x: m.norm(x.unsqueeze(1).transpose(1, 2).contiguous()).squeeze(2), norm=nn.BatchNorm2d(c)
            ),
            c,
        )
    return Piece(Function(lambda m, x: m.norm(x.unsqueeze(1)).squeeze(1), norm=nn.BatchNorm2d(1)), c)


def norm_of_linear(r: Choices, c: int) -> Piece:
    """Batch norm on [B, T, C] by a transposition there and back, behind a linear layer."""
    o = draw_width(r)

    def forward(m: nn.Module, x: Tensor) -> Tensor:
        y = m.linear(x.transpose(1, 2))  # type: ignore[operator]
        return torch.relu(m.norm(y.transpose(1, 2)))  # type: ignore[operator]

    return Piece(Function(forward, linear=nn.Linear(c, o), norm=nn.BatchNorm1d(o)), o)


def norm_over_two_axes(r: Choices, c: int) -> Piece:
    """Layer norm over planes and bins at once."""
    order, back = r.choice((((0, 3, 1, 2), (0, 2, 3, 1)), ((0, 3, 2, 1), (0, 3, 2, 1))))
    shape = (2, c) if order == (0, 3, 1, 2) else (c, 2)

    def forward(m: nn.Module, x: Tensor) -> Tensor:
        y = m.conv(x.unsqueeze(1))  # type: ignore[operator]
        return m.norm(y.permute(order)).permute(back).flatten(1, 2)  # type: ignore[operator]

    return Piece(Function(forward, conv=nn.Conv2d(1, 2, 1), norm=nn.LayerNorm(shape)), 2 * c)


def weights_of_parameters(r: Choices, c: int) -> Piece:
    """A weight that forward makes: by an old hook, by a parametrization, or by hand."""
    o, kind = draw_width(r), r.choice(("hook", "spectral", "by hand", "gated"))
    conv: nn.Module = CausalConv(c, o, 2)
    if kind == "hook":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return Piece(nn.utils.weight_norm(conv), o)
    if kind == "spectral":
        return Piece(nn.utils.parametrizations.spectral_norm(conv), o)
    weight, gain = nn.Parameter(torch.zeros(o, c, 3)), nn.Parameter(torch.ones(o, 1, 1))

    def forward(m: nn.Module, x: Tensor) -> Tensor:
        scale = m.weight.norm(dim=(1, 2), keepdim=True) + 0.1 if kind == "by hand" else torch.exp(-m.gain)  # type: ignore[operator]
        return F.conv1d(F.pad(x, (2, 0)), m.gain * m.weight / scale)  # type: ignore[operator]

    return Piece(Function(forward, weight=weight, gain=gain), o)


NORMS: tuple[Maker, ...] = (
    norm_before, norm_of_sum, norm_of_picture, norm_of_linear, norm_over_two_axes, weights_of_parameters,
)  # fmt: skip
