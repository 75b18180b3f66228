"""Recurrent networks: stacks of nn.GRU and nn.LSTM, loops over time written by hand, gates by convolution."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_esp import Streaming
from lightning_esp.errors import UnsupportedOperatorError
from tests.strangers.entry import Exports, Refused, Stranger, T

LOOP = Refused(UnsupportedOperatorError, "as a Python loop over time does", "use nn.GRU or nn.LSTM")


class Stack(nn.Module):
    """Recurrent layers with layer norms and residuals between."""

    def __init__(self, kind: type[nn.GRU] | type[nn.LSTM], inputs: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, hidden)
        self.rnns = nn.ModuleList(kind(hidden, hidden, batch_first=True) for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(layers))
        self.head = nn.Linear(hidden, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for rnn, norm in zip(self.rnns, self.norms, strict=True):
            y, _ = rnn(norm(x))
            x = x + y
        return self.head(x)


class Deep(nn.Module):
    """Layers in one call, sequence first."""

    def __init__(self, kind: type[nn.GRU] | type[nn.LSTM], inputs: int, bidirectional: bool = False) -> None:
        super().__init__()
        self.rnn = kind(inputs, 12, num_layers=2, dropout=0.1, bidirectional=bidirectional)
        self.head = nn.Linear(24 if bidirectional else 12, 4)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.rnn(x.permute(2, 0, 1))
        return self.head(y).permute(1, 2, 0)


class CellLoop(nn.Module):
    """A cell, stepped in Python."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.cell, self.out, self.hidden = nn.GRUCell(inputs, hidden), nn.Linear(hidden, 3), hidden

    def forward(self, x: Tensor) -> Tensor:
        h, outputs = x.new_zeros(x.shape[0], self.hidden), []
        for t in range(x.size(1)):
            h = self.cell(x[:, t], h)
            outputs.append(self.out(h))
        return torch.stack(outputs, dim=1)


class SRU(nn.Module):
    """Light recurrence: all matrix products at once, then a loop over elementwise gates."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weights, self.bias = nn.Linear(width, 3 * width, bias=False), nn.Parameter(torch.zeros(2 * width))

    def forward(self, x: Tensor) -> Tensor:
        z, f, r = self.weights(x).chunk(3, -1)
        bias_f, bias_r = self.bias.chunk(2)
        f, r = torch.sigmoid(f + bias_f), torch.sigmoid(r + bias_r)
        c, outputs = torch.zeros_like(x[:, 0]), []
        for t in range(x.shape[1]):
            c = f[:, t] * c + (1 - f[:, t]) * z[:, t]
            outputs.append(r[:, t] * torch.tanh(c) + (1 - r[:, t]) * x[:, t])
        return torch.stack(outputs, 1)


class StreamingSRU(SRU):
    """The same with its streaming form, as the refusal asks for."""

    def streaming_forward(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        z, f, r = self.weights(x).chunk(3, -1)
        bias_f, bias_r = self.bias.chunk(2)
        f, r = torch.sigmoid(f + bias_f), torch.sigmoid(r + bias_r)
        c = f * c + (1 - f) * z
        return r * torch.tanh(c) + (1 - r) * x, c

    def streaming_caches(self) -> dict[str, tuple[int, ...]]:
        return {"c": (1, self.weights.in_features)}


class QRNN(nn.Module):
    """Gates by a causal convolution, pooled by a loop."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, 3 * width, 2)

    def forward(self, x: Tensor) -> Tensor:
        z, f, o = self.conv(F.pad(x, (1, 0))).chunk(3, dim=1)
        z, f, o = torch.tanh(z), torch.sigmoid(f), torch.sigmoid(o)
        c = torch.zeros(x.shape[0], x.shape[1])
        states = []
        for t in range(x.shape[2]):
            c = f[..., t] * c + (1 - f[..., t]) * z[..., t]
            states.append(c)
        return o * torch.stack(states, dim=2)


class MinGRU(nn.Module):
    """The parallel form: a cumulative sum of logarithms."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear_z, self.linear_h = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        k = self.linear_z(x)
        log_coeffs, log_z = -F.softplus(k), -F.softplus(-k)
        log_h = torch.log(F.relu(self.linear_h(x)) + 0.5)
        a_star = torch.cumsum(log_coeffs, dim=1)
        return (a_star + torch.logcumsumexp(log_z + log_h - a_star, dim=1)).exp()


class StreamingMinGRU(MinGRU):
    """With the recurrence that the parallel form stands for."""

    def streaming_forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        z = torch.sigmoid(self.linear_z(x))
        h = h + z * (F.relu(self.linear_h(x)) + 0.5 - h)
        return h, h

    def streaming_caches(self) -> dict[str, tuple[int, ...]]:
        return {"h": (1, self.linear_z.in_features)}


class LMU(nn.Module):
    """A linear memory of Legendre polynomials, stepped with fixed matrices."""

    def __init__(self, inputs: int, order: int) -> None:
        super().__init__()
        self.register_buffer("a", 0.9 * torch.eye(order) + 0.05 * torch.randn(order, order))
        self.register_buffer("b", torch.randn(order, 1))
        self.encode, self.out, self.order = nn.Linear(inputs, 1), nn.Linear(order, 6), order

    def forward(self, x: Tensor) -> Tensor:
        u = self.encode(x)
        m = torch.zeros(x.shape[0], self.order)
        states = []
        for i in range(u.shape[1]):
            m = m @ self.a.T + u[:, i] @ self.b.T
            states.append(m)
        return self.out(torch.stack(states, 1))


class ConvGRU(nn.Module):
    """[B, C, T, F]: a convolution in front, bins folded into features, a GRU, and unfolded again."""

    def __init__(self, channels: int, bins: int) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(channels, 4, (3, 3), padding=(0, 1)), nn.BatchNorm2d(4)
        self.gru, self.out = nn.GRU(4 * bins, 4 * bins, batch_first=True), nn.Conv2d(4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn(self.conv(F.pad(x, (0, 0, 2, 0)))))
        b, c, t, f = y.shape
        z, _ = self.gru(y.permute(0, 2, 3, 1).reshape(b, t, f * c))
        z = z.reshape(b, t, f, c).permute(0, 3, 1, 2)
        return x * torch.sigmoid(self.out(z + y))


class LastState(nn.Module):
    """The state after the whole recording, classified."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(inputs, 12, batch_first=True), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        _, (hidden, _) = self.lstm(x)
        return self.head(hidden[-1])


STRANGERS = (
    Stranger("GRU, LayerNorm, residual, three times", lambda: Stack(nn.GRU, 8, 12, 3), (T, 8), Exports(20), slow=True),
    Stranger("LSTM, LayerNorm, residual, in two stages", lambda: Stack(nn.LSTM, 8, 12, 2), (T, 8), Exports(25), Streaming(stages=2)),
    Stranger("GRU of two layers, sequence first", lambda: Deep(nn.GRU, 8), (8, T), Exports(20), slow=True),
    Stranger("LSTM of two layers, sequence first", lambda: Deep(nn.LSTM, 8), (8, T), Exports(25)),
    Stranger("LSTM of two layers in int16", lambda: Deep(nn.LSTM, 8), (8, T), Exports(45), precision="int16", slow=True),
    Stranger("LSTM, both directions", lambda: Deep(nn.LSTM, 8, True), (8, T),
             Refused(UnsupportedOperatorError, "runs backwards too", "bidirectional=False")),
    Stranger("LSTM, state after the recording", lambda: LastState(8), (T, 8), Exports(35), clip=True),
    Stranger("WaveRNN-like loop over a GRUCell", lambda: CellLoop(8, 12), (T, 8), LOOP),
    Stranger("SRU, a loop", lambda: SRU(8), (T, 8), LOOP),
    Stranger("SRU with streaming_forward", lambda: nn.Sequential(nn.Linear(8, 8), StreamingSRU(8)), (T, 8), Exports(20)),
    Stranger("QRNN, a loop", lambda: QRNN(8), (8, T), LOOP),
    Stranger("minGRU, parallel", lambda: MinGRU(8), (T, 8), Refused(UnsupportedOperatorError, "cumsum adds up all frames since the start", "average the last N frames")),
    Stranger("minGRU with streaming_forward", lambda: nn.Sequential(StreamingMinGRU(8), nn.Linear(8, 4)), (T, 8), Exports(20)),
    Stranger("LMU, a loop", lambda: LMU(8, 6), (T, 8), LOOP),
    Stranger("Conv-GRU mask, [B, C, T, F]", lambda: ConvGRU(2, 8), (2, T, 8), Exports(30), Streaming(time_axis=2)),
)  # fmt: skip
