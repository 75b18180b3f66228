"""Speaker and speech encoders of the speechbrain kind: TDNNs with norms behind activations, statistics pooling."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_esp import Streaming
from lightning_esp.errors import NotCausalError, UnsupportedOperatorError
from tests.strangers.entry import Exports, Refused, Stranger, T


class TDNN(nn.Module):
    """Convolution, activation, and only then the norm."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, dilation: int = 1, causal: bool = True) -> None:
        super().__init__()
        self.left = (kernel - 1) * dilation if causal else 0
        padding = 0 if causal else (kernel - 1) * dilation // 2
        self.conv = nn.Conv1d(inputs, outputs, kernel, dilation=dilation, padding=padding)
        self.activation, self.norm = nn.LeakyReLU(), nn.BatchNorm1d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.activation(self.conv(F.pad(x, (self.left, 0)))))


class Xvector(nn.Module):
    """Three TDNN layers on [B, T, C]; an embedding per frame, or of the whole recording."""

    def __init__(self, bins: int, pooled: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([TDNN(bins, 16, 5), TDNN(16, 16, 3, 2), TDNN(16, 24)])
        self.linear, self.pooled = nn.Linear(48 if pooled else 24, 12), pooled

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        if self.pooled:
            return self.linear(torch.cat([x.mean(dim=2), x.std(dim=2)], dim=1))
        return self.linear(x.transpose(1, 2))


class Res2Net(nn.Module):
    """Channels in groups; each group sees the one before it."""

    def __init__(self, channels: int, scale: int, dilation: int, causal: bool) -> None:
        super().__init__()
        width = channels // scale
        self.blocks = nn.ModuleList(TDNN(width, width, 3, dilation, causal) for _ in range(scale - 1))
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        found: list[Tensor] = []
        for i, part in enumerate(torch.chunk(x, self.scale, dim=1)):
            if i == 0:
                found.append(part)
            else:
                found.append(self.blocks[i - 1](part if i == 1 else part + found[-1]))
        return torch.cat(found, dim=1)


class SE(nn.Module):
    """Squeeze over the whole recording, excite."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv1d(channels, 4, 1), nn.Conv1d(4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        s = x.mean(dim=2, keepdim=True)
        return torch.sigmoid(self.conv2(torch.relu(self.conv1(s)))) * x


class ECAPABlock(nn.Module):
    """TDNN, Res2Net, TDNN, perhaps SE, and a residual."""

    def __init__(self, channels: int, dilation: int, se: bool, causal: bool = True) -> None:
        super().__init__()
        self.tdnn1, self.tdnn2 = TDNN(channels, channels), TDNN(channels, channels)
        self.res2net = Res2Net(channels, 4, dilation, causal)
        self.se = SE(channels) if se else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.se(self.tdnn2(self.res2net(self.tdnn1(x))))


class ECAPA(nn.Module):
    """Blocks whose outputs are joined, then pooled with attention, or given per frame."""

    def __init__(self, bins: int, se: bool, attentive: bool = False, causal: bool = True) -> None:
        super().__init__()
        self.first = TDNN(bins, 16, 5, causal=causal)
        self.blocks = nn.ModuleList(ECAPABlock(16, d, se, causal) for d in (2, 3))
        self.mfa, self.attention = TDNN(32, 24), nn.Conv1d(24, 24, 1)
        self.attentive = attentive

    def forward(self, x: Tensor) -> Tensor:
        x, outputs = self.first(x), []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        y = self.mfa(torch.cat(outputs, dim=1))
        if not self.attentive:
            return y
        weights = F.softmax(torch.tanh(self.attention(y)), dim=2)
        return (weights * y).sum(dim=2)


class CRDNN(nn.Module):
    """[B, T, F]: 2-D convolutions with a norm over bins and channels, pooling of bins, an LSTM, dense layers."""

    def __init__(self, bins: int, merged: bool) -> None:
        super().__init__()
        self.merged = merged
        self.conv1, self.conv2 = nn.Conv2d(1, 4, (3, 3), padding=(0, 1)), nn.Conv2d(4, 4, (3, 3), padding=(0, 1))
        self.norm1, self.norm2 = nn.LayerNorm([bins, 4]), nn.LayerNorm([bins, 4])
        self.pool, self.rnn = nn.MaxPool2d((1, 2)), nn.LSTM(bins // 2 * 4, 12, batch_first=True)
        self.dnn, self.bn, self.out = nn.Linear(12, 16), nn.BatchNorm1d(16), nn.Linear(16, 5)

    def normed(self, x: Tensor, norm: nn.Module) -> Tensor:
        return norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = x.unsqueeze(1)
        x = F.leaky_relu(self.normed(self.conv1(F.pad(x, (0, 0, 2, 0))), self.norm1))
        x = F.leaky_relu(self.normed(self.conv2(F.pad(x, (0, 0, 2, 0))), self.norm2))
        x = self.pool(x).transpose(1, 2)
        y, _ = self.rnn(x.reshape(x.shape[0], x.shape[1], -1))
        y = F.leaky_relu(self.dnn(y))
        if self.merged:
            shape = y.shape
            y = self.bn(y.reshape(shape[0] * shape[1], shape[2])).reshape(shape)
        else:
            y = self.bn(y.transpose(1, 2)).transpose(1, 2)
        return self.out(y)


STRANGERS = (
    Stranger("x-vector TDNN, per frame", lambda: Xvector(16, False), (T, 16), Exports(30)),
    Stranger("x-vector, statistics pooling", lambda: Xvector(16, True), (T, 16),
             Exports(30), clip=True, slow=True),
    Stranger("ECAPA-TDNN, per frame, without SE", lambda: ECAPA(16, False), (16, T), Exports(30), slow=True),
    Stranger("ECAPA-TDNN, SE over the recording", lambda: ECAPA(16, True), (16, T),
             Refused(UnsupportedOperatorError, "all of time", "average the last N frames")),
    Stranger("ECAPA-TDNN, attentive pooling", lambda: ECAPA(16, False, True), (16, T),
             Exports(15), clip=True, slow=True),
    Stranger("ECAPA-TDNN, symmetric", lambda: ECAPA(16, False, False, False), (16, T),
             Refused(NotCausalError, "frame(s) after", "Streaming(lookahead=17)")),
    Stranger("ECAPA-TDNN, with look-ahead", lambda: ECAPA(16, False, False, False), (16, T), Exports(30),
             Streaming(lookahead=17), slow=True),
    Stranger("CRDNN", lambda: CRDNN(16, False), (T, 16), Exports(30), Streaming(time_axis=1)),
    Stranger("CRDNN, batch and time in one axis for a norm", lambda: CRDNN(16, True), (T, 16), Exports(30), Streaming(time_axis=1)),
)  # fmt: skip
