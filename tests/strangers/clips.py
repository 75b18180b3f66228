"""Classifiers of clips as they are published: symmetric padding, both directions, attention over the clip."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_esp import Streaming
from tests.strangers.entry import CLIP, Exports, Stranger, T


class PlainCnn(nn.Module):
    """The CNN of every tutorial: two blocks of Conv2d, batch norm and pooling, and a global average."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        )  # fmt: skip
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x.unsqueeze(1)).flatten(1))


class Wav2Letter(nn.Module):
    """Convolutions of padding "same" over features, the mean of their scores over the clip."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(16, 16, 7, padding="same"), nn.ReLU(), nn.Conv1d(16, 16, 7, padding="same"), nn.ReLU()
        )
        self.head = nn.Conv1d(16, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x)).mean(dim=2)


class Crnn(nn.Module):
    """Convolutions over time and bins, a GRU in both directions, its last frame."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.rnn = nn.GRU(4 * 16, 8, batch_first=True, bidirectional=True)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.conv(x.unsqueeze(1)))
        batch, channels, bands, frames = y.shape
        y, _ = self.rnn(y.permute(0, 3, 1, 2).reshape(batch, frames, channels * bands))
        return self.head(y[:, -1])


class ResNet1d(nn.Module):
    """A residual block of symmetric padding for sensors, pooled to the largest value."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(6, 12, 5, padding=2)
        self.second = nn.Conv1d(12, 12, 5, padding=2)
        self.norm = nn.BatchNorm1d(12)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.first(x))
        return self.head(F.relu(y + self.norm(self.second(y))).amax(-1))


class FlatNet(nn.Module):
    """Strided convolutions, flattened into a Linear layer that fits one length."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(6, 8, 4, stride=2), nn.ReLU(), nn.Conv1d(8, 8, 4, stride=2), nn.ReLU())
        self.head = nn.Linear(8 * 9, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).flatten(1))


class ClipEncoder(nn.Module):
    """A transformer encoder with a learned table of positions."""

    def __init__(self) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(1, CLIP, 8) * 0.1)
        self.first = nn.Linear(6, 8)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.first(x.transpose(1, 2)) + self.positions).mean(1))


CHANNELS_FIRST = Streaming(time_axis=2)
STRANGERS = (
    Stranger("CNN with a global average, symmetric", PlainCnn, (16, T), Exports(15), CHANNELS_FIRST, clip=True),
    Stranger("wav2letter-like, padding \"same\"", Wav2Letter, (16, T), Exports(15), CHANNELS_FIRST, clip=True),
    Stranger("CRNN, both directions, last frame", Crnn, (16, T), Exports(15), CHANNELS_FIRST, clip=True),
    Stranger("1-D ResNet, largest value of the clip", ResNet1d, (6, T), Exports(15), CHANNELS_FIRST, clip=True),
    Stranger("Convolutions, flatten and Linear", FlatNet, (6, T), Exports(15), CHANNELS_FIRST, clip=True),
    Stranger("Transformer encoder over the clip", ClipEncoder, (6, T), Exports(15), CHANNELS_FIRST, clip=True, slow=True),
)  # fmt: skip
