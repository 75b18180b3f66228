"""Pieces of random architectures that hold others: branches, skips, and what goes down in rate and up again."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.models.pieces import CausalConv, Function, Maker, Piece, draw_width
from tests.support.choices import Choices


def down_and_up(r: Choices, c: int) -> Piece:
    s = r.choice((2, 3))
    inner = r.sequence(c, (2,))
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


def residual(r: Choices, c: int) -> Piece:
    inner = r.sequence(c, (1, 2, 3))
    if (inner.stride, inner.up) != (1, 1):
        return inner
    if inner.channels == c:
        return Piece(Function(lambda m, x: m.inner(x) + x, inner=inner.module), c)
    skip = nn.Conv1d(c, inner.channels, 1)
    return Piece(Function(lambda m, x: m.inner(x).add_(m.skip(x)), inner=inner.module, skip=skip), inner.channels)


def strided_residual(r: Choices, c: int) -> Piece:
    s, o, k = r.choice((2, 3)), draw_width(r), r.choice((2, 3, 5))
    main = nn.Sequential(CausalConv(c, o, k, stride=s), nn.BatchNorm1d(o), nn.ReLU(), CausalConv(o, o, 3))
    return Piece(
        Function(lambda m, x: F.relu(m.main(x) + m.skip(x)), main=main, skip=nn.Conv1d(c, o, 1, stride=s)), o, s
    )


def parallel(r: Choices, c: int) -> Piece:
    a, b = r.sequence(c, (1, 2)), r.sequence(c, (1,))
    if a.stride * b.up != b.stride * a.up:
        return a
    if r.chance(0.5):
        both = a.channels + b.channels
        return Piece(
            Function(lambda m, x: torch.cat([m.a(x), m.b(x)], 1), a=a.module, b=b.module), both, a.stride, a.up
        )
    fit = nn.Conv1d(b.channels, a.channels, 1)
    join = Function(lambda m, x: m.a(x) * torch.sigmoid(m.fit(m.b(x))), a=a.module, b=b.module, fit=fit)
    return Piece(join, a.channels, a.stride, a.up)


def dense(r: Choices, c: int) -> Piece:
    a = r.sequence(c, (1,))
    if (a.stride, a.up) != (1, 1):
        return a
    return Piece(Function(lambda m, x: torch.cat([x, m.a(x)], dim=1), a=a.module), c + a.channels)


COMBINATIONS: tuple[Maker, ...] = (residual, strided_residual, parallel, dense, down_and_up)
