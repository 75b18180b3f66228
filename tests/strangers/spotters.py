"""More keyword spotters: res8 and res15, M5 on samples, CRNN, dilated gated nets, KWT, SVDF, a detector with several heads."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_esp import Streaming
from lightning_esp.errors import UnsupportedOperatorError
from tests.strangers.entry import Exports, Refused, Stranger, T


class SpeechResNet(nn.Module):
    """[B, T, F] in one plane: unpadded bins, norms without weights behind the activation, residuals every second layer."""

    def __init__(self, layers: int, pool: tuple[int, int] | None, dilated: bool, pooled: bool) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(1, 8, 3, padding=(0, 1), bias=False)
        self.pool = nn.AvgPool2d(pool) if pool else None
        dilations = [2 ** (i // 3) if dilated else 1 for i in range(layers)]
        self.convs = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=(0, d), dilation=d, bias=False) for d in dilations)
        self.bns = nn.ModuleList(nn.BatchNorm2d(8, affine=False) for _ in dilations)
        self.output, self.pooled, self.dilations = nn.Linear(8, 5), pooled, dilations

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv0(F.pad(x.unsqueeze(1), (0, 0, 2, 0))))
        old = x = x if self.pool is None else self.pool(x)
        for i, (conv, bn, dilation) in enumerate(zip(self.convs, self.bns, self.dilations, strict=True)):
            x = F.relu(conv(F.pad(x, (0, 0, 2 * dilation, 0))))
            if i % 2:
                x = x + old
                old = x
            x = bn(x)
        if self.pooled:
            x = x.view(x.size(0), x.size(1), -1)
            return self.output(torch.mean(x, 2))
        return self.output(torch.mean(x, 3).transpose(1, 2))


class M5(nn.Module):
    """Samples [B, 1, T]: a wide strided first layer, pooling between, the mean over what is left or nothing."""

    def __init__(self, pooled: bool) -> None:
        super().__init__()
        self.conv1, self.bn1, self.pool1 = nn.Conv1d(1, 8, 32, stride=4), nn.BatchNorm1d(8), nn.MaxPool1d(2)
        self.conv2, self.bn2, self.pool2 = nn.Conv1d(8, 12, 3), nn.BatchNorm1d(12), nn.MaxPool1d(2)
        self.fc1, self.pooled = nn.Linear(12, 5), pooled

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool1(F.relu(self.bn1(self.conv1(F.pad(x, (28, 0))))))
        x = self.pool2(F.relu(self.bn2(self.conv2(F.pad(x, (2, 0))))))
        if self.pooled:
            x = F.avg_pool1d(x, x.shape[-1])
        x = self.fc1(x.permute(0, 2, 1))
        return F.log_softmax(x, dim=2) if self.pooled else x


class KeywordCRNN(nn.Module):
    """[B, 1, F, T]: a strided convolution, two GRUs, a dense layer; attention over the frames in the att form."""

    def __init__(self, bins: int, attention: bool) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(1, 8, (8, 5), stride=(4, 2)), nn.BatchNorm2d(8)
        self.rnn = nn.GRU(8 * ((bins - 8) // 4 + 1), 12, num_layers=2, batch_first=True)
        self.query, self.fc, self.attention = nn.Linear(12, 12), nn.Linear(12, 5), attention

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn(self.conv(F.pad(x, (3, 0)))))
        x, _ = self.rnn(x.flatten(1, 2).transpose(1, 2))
        if self.attention:
            scores = torch.bmm(self.query(x[:, -1:]), x.transpose(1, 2))
            x = torch.bmm(torch.softmax(scores, dim=-1), x)
        return self.fc(x)


class GatedLayer(nn.Module):
    """tanh and sigmoid halves of one dilated convolution; a residual and a skip."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.left = 2 * dilation
        self.conv, self.bn = nn.Conv1d(channels, 2 * channels, 3, dilation=dilation), nn.BatchNorm1d(2 * channels)
        self.res, self.skip = nn.Conv1d(channels, channels, 1), nn.Conv1d(channels, 12, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.bn(self.conv(F.pad(x, [self.left, 0])))
        y = torch.tanh(y[:, : x.shape[1]]) * torch.sigmoid(y[:, x.shape[1] :])
        return x + self.res(y), self.skip(y)


class GatedSpotter(nn.Module):
    """Dilated gated layers, their skips added."""

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(bins, 8, 3)
        self.layers = nn.ModuleList(GatedLayer(8, d) for d in (1, 2, 4))
        self.last = nn.Sequential(nn.ReLU(), nn.Conv1d(12, 12, 1), nn.ReLU(), nn.Conv1d(12, 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(F.pad(x, (2, 0)))
        skips = []
        for layer in self.layers:
            x, skip = layer(x)
            skips.append(skip)
        return self.last(torch.stack(skips).sum(0))


class KWT(nn.Module):
    """Every frame is a token: a linear projection, positions, a transformer with its norm behind."""

    def __init__(self, bins: int, width: int) -> None:
        super().__init__()
        self.project, self.pos = nn.Linear(bins, width), nn.Parameter(torch.randn(1, 400, width))
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp, self.head = nn.Sequential(nn.Linear(width, 16), nn.GELU(), nn.Linear(16, width)), nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.project(x) + self.pos[:, : x.size(1)]
        b, t, c = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, 2, c // 2).permute(2, 0, 3, 1, 4)
        y = ((q @ k.transpose(-2, -1)) * (c // 2) ** -0.5).softmax(dim=-1) @ v
        x = self.norm1(x + self.out(y.transpose(1, 2).reshape(b, t, c)))
        return self.head(self.norm2(x + self.mlp(x)))


class SVDF(nn.Module):
    """A filter over bins, then a filter over the last frames, for each node; ranks are summed by a view."""

    def __init__(self, inputs: int, units: int, rank: int, memory: int) -> None:
        super().__init__()
        self.rank, self.units, self.memory = rank, units, memory
        self.feature = nn.Linear(inputs, units * rank, bias=False)
        self.time = nn.Conv1d(units * rank, units * rank, memory, groups=units * rank, bias=False)
        self.bias = nn.Parameter(torch.zeros(units))

    def forward(self, x: Tensor) -> Tensor:
        y = self.feature(x).transpose(1, 2)
        y = self.time(F.pad(y, (self.memory - 1, 0))).transpose(1, 2)
        b, t, _ = y.shape
        return F.relu(y.view(b, t, self.units, self.rank).sum(-1) + self.bias)


class TwoHeads(nn.Module):
    """An embedding and what a classifier makes of it, both returned."""

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(bins, 12, 3), nn.BatchNorm1d(12), nn.ReLU())
        self.head = nn.Conv1d(12, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.body(F.pad(x, (2, 0)))
        return h, self.head(h)


STRANGERS = (
    Stranger("res8, per frame", lambda: SpeechResNet(4, (1, 4), False, False), (T, 16), Exports(30), Streaming(time_axis=1), slow=True),
    Stranger("res15, dilated, per frame", lambda: SpeechResNet(5, None, True, False), (T, 8), Exports(30), Streaming(time_axis=1), slow=True),
    Stranger("res8, mean over all", lambda: SpeechResNet(4, (1, 4), False, True), (T, 16),
             Exports(10), Streaming(time_axis=1), clip=True),
    Stranger("M5 on samples, per frame", lambda: M5(False), (1, T), Exports(30), frames=16),
    Stranger("M5, mean by avg_pool1d of the length", lambda: M5(True), (1, T),
             Exports(30), frames=16, clip=True),
    Stranger("Keyword CRNN", lambda: KeywordCRNN(16, False), (1, 16, T), Exports(30), Streaming(time_axis=3), frames=2),
    Stranger("Keyword CRNN, two stages", lambda: KeywordCRNN(16, False), (1, 16, T), Exports(30),
             Streaming(time_axis=3, stages=2), frames=2),
    Stranger("Att-RNN", lambda: KeywordCRNN(16, True), (1, 16, T),
             Exports(15), Streaming(time_axis=3), frames=2, clip=True),
    Stranger("Gated dilated spotter, skips stacked", lambda: GatedSpotter(16), (16, T), Exports(40), slow=True),
    Stranger("KWT", lambda: KWT(16, 8), (T, 16), Refused(UnsupportedOperatorError, "that forward makes to fit the length of the recording", "make it a parameter or buffer without a time axis")),
    Stranger("SVDF", lambda: nn.Sequential(SVDF(16, 12, 2, 6), SVDF(12, 8, 2, 8), nn.Linear(8, 4)), (T, 16), Exports(30)),
    Stranger("Embedding and scores, window 2", lambda: TwoHeads(16), (16, T), Exports(20), Streaming(window=2)),
)  # fmt: skip
