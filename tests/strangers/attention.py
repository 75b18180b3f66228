"""Conformers and their kin, with attention and without; masks written by hand."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_esp.errors import UnsupportedOperatorError
from tests.strangers.entry import Exports, Refused, Stranger, T


class FeedForward(nn.Module):
    """Half of a macaron."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.SiLU(), nn.Dropout(0.1), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) * 0.5 + x


class ConvModule(nn.Module):
    """Pointwise with a gate, depthwise into the past, a norm of either kind, pointwise."""

    def __init__(self, width: int, kernel: int, norm: str) -> None:
        super().__init__()
        self.layer_norm, self.norm, self.left, self.kind = nn.LayerNorm(width), nn.Identity(), kernel - 1, norm
        self.pointwise1 = nn.Conv1d(width, 2 * width, 1)
        self.depthwise = nn.Conv1d(width, width, kernel, groups=width, bias=False)
        self.norm = nn.BatchNorm1d(width) if norm == "batch" else nn.LayerNorm(width)
        self.pointwise2 = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.glu(self.pointwise1(self.layer_norm(x).transpose(1, 2)), dim=1)
        y = self.depthwise(F.pad(y, (self.left, 0)))
        y = self.norm(y) if self.kind == "batch" else self.norm(y.transpose(1, 2)).transpose(1, 2)
        return x + self.pointwise2(F.silu(y)).transpose(1, 2)


class SelfAttention(nn.Module):
    """Over all frames, over those before, or over a window of them."""

    def __init__(self, width: int, mask: str) -> None:
        super().__init__()
        self.qkv, self.out, self.norm, self.mask = (
            nn.Linear(width, 3 * width),
            nn.Linear(width, width),
            nn.LayerNorm(width),
            mask,
        )

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).chunk(3, dim=-1)
        frames = x.shape[1]
        if self.mask == "sdpa":
            return x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True))
        scores = torch.matmul(q, k.transpose(1, 2)) / q.shape[-1] ** 0.5
        if self.mask == "window":
            allowed = torch.ones(frames, frames).tril() - torch.ones(frames, frames).tril(-8)
            scores = scores.masked_fill(allowed == 0, float("-inf"))
        return x + self.out(torch.matmul(scores.softmax(dim=-1), v))


class Conformer(nn.Module):
    """Feed-forward, attention or a GRU in its place, convolution, feed-forward, norm."""

    def __init__(self, width: int, mixing: str, norm: str = "batch") -> None:
        super().__init__()
        self.ff1, self.ff2, self.conv, self.norm = (
            FeedForward(width),
            FeedForward(width),
            ConvModule(width, 7, norm),
            nn.LayerNorm(width),
        )
        self.mixing = mixing
        self.mixer = nn.GRU(width, width, batch_first=True) if mixing == "gru" else SelfAttention(width, mixing)

    def forward(self, x: Tensor) -> Tensor:
        x = self.ff1(x)
        if self.mixing == "gru":
            x = x + self.mixer(x)[0]
        elif self.mixing != "none":
            x = self.mixer(x)
        return self.norm(self.ff2(self.conv(x)))


class Emformer(nn.Module):
    """Segments of frames as a batch, each with its left context by unfold, attention inside."""

    def __init__(self, width: int, segment: int) -> None:
        super().__init__()
        self.attention, self.segment = nn.MultiheadAttention(width, 2, batch_first=True), segment

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.shape
        s = self.segment
        context = F.pad(x, (0, 0, s, 0)).unfold(1, 2 * s, s).transpose(2, 3).reshape(-1, 2 * s, c)
        y, _ = self.attention(x.reshape(-1, s, c), context, context, need_weights=False)
        return y.reshape(b, t, c)


class ChannelAttention(nn.Module):
    """Softmax over the channels of a frame, weights for the values of the same frame."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score, self.value, self.out = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        weights = torch.softmax(self.score(x), dim=-1)
        return self.out(weights * self.value(x) + x)


STRANGERS = (
    Stranger("Conformer without attention, batch norm", lambda: Conformer(8, "none"), (T, 8), Exports(25)),
    Stranger("Conformer with a GRU, layer norm", lambda: Conformer(8, "gru", "layer"), (T, 8), Exports(15), slow=True),
    Stranger("Conformer, attention over all", lambda: Conformer(8, "all"), (T, 8), Refused(UnsupportedOperatorError, "multiplies two tensors made from the input", "use convolutions or nn.GRU")),
    Stranger("Conformer, attention over 8 frames by a mask", lambda: Conformer(8, "window"), (T, 8),
             Refused(UnsupportedOperatorError, "multiplies two tensors made from the input", "use convolutions or nn.GRU")),
    Stranger("Conformer, scaled_dot_product_attention", lambda: Conformer(8, "sdpa"), (T, 8),
             Refused(UnsupportedOperatorError, "attends over all of time", "use nn.GRU or causal convolutions")),
    Stranger("Emformer-like segments", lambda: Emformer(8, 4), (T, 8), Refused(UnsupportedOperatorError, "reshape mixes the batch with another axis", "keep the batch and time"), frames=4),
    Stranger("Attention over channels", lambda: ChannelAttention(8), (T, 8), Exports(25)),
)  # fmt: skip
