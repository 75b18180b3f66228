"""The last pieces of random architectures: layers without padding, and what has no streaming form."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.models.pieces import Function, Maker, Piece, draw_width
from tests.support.choices import Choices

# Without padding, so that the output is shorter than the input.


def valid(r: Choices, c: int) -> Piece:
    k, s, o = r.choice((2, 3)), r.choice((1, 1, 2)), draw_width(r)
    return Piece(nn.Conv1d(c, o, k, stride=s), o, s)


def cropped_residual(r: Choices, c: int) -> Piece:
    k, d = r.choice((2, 3)), r.choice((1, 2))
    n = (k - 1) * d
    return Piece(Function(lambda m, x: torch.tanh(m.conv(x)) + x[:, :, n:], conv=nn.Conv1d(c, c, k, dilation=d)), c)


def delayed_branch(r: Choices, c: int) -> Piece:
    n = r.choice((1, 2, 3))
    conv = nn.Conv1d(c, c, n + 1)
    return Piece(Function(lambda m, x: m.conv(x) + x[..., : x.shape[-1] - n], conv=conv), c)


# What has no streaming form.


def symmetric(r: Choices, c: int) -> Piece:
    return Piece(nn.Conv1d(c, c, 3, padding=r.choice((1, "same"))), c)


def global_mean(r: Choices, c: int) -> Piece:
    return Piece(Function(lambda m, x: x - x.mean(-1, keepdim=True)), c)


def global_pool(r: Choices, c: int) -> Piece:
    return Piece(Function(lambda m, x: x * m.pool(x), pool=nn.AdaptiveAvgPool1d(1)), c)


def running_sum(r: Choices, c: int) -> Piece:
    return Piece(Function(lambda m, x: x.cumsum(-1)), c)


def bidirectional(r: Choices, c: int) -> Piece:
    rnn = nn.GRU(c, 2, batch_first=True, bidirectional=True)
    return Piece(Function(lambda m, x: m.rnn(x.mT)[0].mT, rnn=rnn), 4)


def reversed_time(r: Choices, c: int) -> Piece:
    return Piece(Function(lambda m, x: x + x.flip(-1)), c)


def group_norm(r: Choices, c: int) -> Piece:
    return Piece(nn.GroupNorm(1, c), c)


def attention(r: Choices, c: int) -> Piece:
    return Piece(Function(lambda m, x: x @ torch.softmax(x.mT @ x, dim=1)), c)


def last_frame(r: Choices, c: int) -> Piece:
    return Piece(Function(lambda m, x: x - x[:, :, -1:]), c)


def time_loop(r: Choices, c: int) -> Piece:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        state, outputs = torch.zeros_like(x[:, :, 0]), []
        for t in range(x.shape[-1]):
            state = 0.5 * state + x[:, :, t]
            outputs.append(state)
        return torch.stack(outputs, dim=-1)

    return Piece(Function(forward), c)


def late_padding(r: Choices, c: int) -> Piece:
    return Piece(Function(lambda m, x: F.pad(m.conv(x), (2, 0)), conv=nn.Conv1d(c, c, 3)), c)


VALID: tuple[Maker, ...] = (valid, cropped_residual, delayed_branch)
REFUSED: tuple[Maker, ...] = (
    symmetric, global_mean, global_pool, running_sum, bidirectional, reversed_time, group_norm, attention, last_frame,
    time_loop, late_padding,
)  # fmt: skip
