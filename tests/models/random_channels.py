"""Pieces of random architectures that work along the channels of a frame, or write into tensors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.models.pieces import Function, Maker, Piece
from tests.support.choices import Choices


def rolled(r: Choices, c: int) -> Piece:
    n = r.choice((1, -1, 2))
    return Piece(Function(lambda m, x: x + torch.roll(x, n, dims=1)), c)


def unfolded(r: Choices, c: int) -> Piece:
    """Each channel with its neighbour."""

    def forward(m: nn.Module, x: Tensor) -> Tensor:
        return x.unfold(1, 2, 1).permute(0, 1, 3, 2).flatten(1, 2)

    return Piece(Function(forward), 2 * (c - 1))


def response_normed(r: Choices, c: int) -> Piece:
    return Piece(nn.LocalResponseNorm(r.choice((2, 3)), alpha=0.1), c)


def instance_normed(r: Choices, c: int) -> Piece:
    """With the statistics of training."""
    return Piece(nn.InstanceNorm1d(c, affine=r.chance(0.5), track_running_stats=True), c)


def filled(r: Choices, c: int) -> Piece:
    """A tensor that is made, filled and written into."""

    def forward(m: nn.Module, x: Tensor) -> Tensor:
        y = (x + 1).fill_(0.5)
        y[:, :1] = x[:, 1:2]
        return x * y

    return Piece(Function(forward), c)


def copied(r: Choices, c: int) -> Piece:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        y = torch.ones_like(x)
        y.copy_(torch.tanh(x))
        y[:, 0] += x[:, 1]
        return y

    return Piece(Function(forward), c)


CHANNELS: tuple[Maker, ...] = (rolled, unfolded, response_normed, instance_normed, filled, copied)
