"""Small classifiers with the heads that papers use, all of them for clips of 20 frames of 8 bands."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FRAMES, BANDS = 20, 8


class Causal(nn.Module):
    """A causal convolution that keeps the number of frames."""

    def __init__(self, kernel: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(BANDS, BANDS, kernel, dilation=dilation)
        self.left = (kernel - 1) * dilation

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(F.pad(x, (self.left, 0))))


class _Head(nn.Module):
    def __init__(self, features: int = BANDS) -> None:
        super().__init__()
        self.body = nn.Sequential(Causal(3), Causal(3, 2))
        self.head = nn.Linear(features, 4)


class MeanHead(_Head):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean(-1))


class AdaptiveHead(_Head):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.adaptive_max_pool1d(self.body(x), 1).squeeze(-1))


class PoolByLengthHead(_Head):
    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return self.head(F.avg_pool1d(y, y.shape[-1]).flatten(1))


class PoolByNumberHead(_Head):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.avg_pool1d(self.body(x), FRAMES)[:, :, 0])


class LastHead(_Head):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x)[:, :, -1])


class SelectHead(_Head):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).select(2, -1))


class FlattenHead(_Head):
    def __init__(self) -> None:
        super().__init__(BANDS * FRAMES)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return self.head(y.view(y.size(0), -1))


class AttentionPoolHead(_Head):
    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Linear(BANDS, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x).transpose(1, 2)
        return self.head((torch.softmax(self.score(y), dim=1) * y).sum(1))


class GruHead(nn.Module):
    def __init__(self, layers: int = 1) -> None:
        super().__init__()
        self.rnn = nn.GRU(BANDS, 6, layers, batch_first=True)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        _, hidden = self.rnn(x.transpose(1, 2))
        return self.head(hidden[-1])


class LstmHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(BANDS, 6, batch_first=True)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        _, (hidden, _) = self.rnn(x.transpose(1, 2))
        return self.head(hidden.squeeze(0))


class TwoLags(nn.Module):
    """Layers without padding, read by two pools at different lags."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(BANDS, BANDS, 3, stride=2)
        self.second = nn.Conv1d(BANDS, BANDS, 3)
        self.head = nn.Linear(2 * BANDS, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        return self.head(torch.cat([y.mean(-1), self.second(y).amax(-1)], dim=1))


class Symmetric(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(BANDS, BANDS, 3, padding=1), nn.ReLU(), nn.Conv1d(BANDS, BANDS, 3, padding=1)
        )
        self.head = nn.Linear(BANDS, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean(-1)).softmax(-1)


class OneSymmetric(Symmetric):
    """One layer that pads on both sides, and causal ones behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(BANDS, BANDS, 5, padding=2), nn.ReLU(), nn.Conv1d(BANDS, BANDS, 1))


class SymmetricPatches(nn.Module):
    """Bins and time padded on both sides, then without padding over time."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=(1, 0))
        self.head = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(F.relu(self.first(x.unsqueeze(1)))).mean((2, 3)))


class SymmetricStrided(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(BANDS, BANDS, 4, stride=2, padding=1)
        self.second = nn.Conv1d(BANDS, BANDS, 3)
        self.head = nn.Linear(BANDS, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(F.relu(self.first(x))).amax(-1))


class LatePadding(nn.Module):
    """Padding behind a layer that drops frames, which in a stream are not zero."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(BANDS, BANDS, 3), nn.Conv1d(BANDS, BANDS, 3)
        self.head = nn.Linear(BANDS, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(F.pad(self.first(x), (2, 0))).mean(-1))


class Crnn(nn.Module):
    def __init__(self, bidirectional: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.rnn = nn.GRU(4 * BANDS, 6, batch_first=True, bidirectional=bidirectional)
        self.head = nn.Linear(6 * (1 + bidirectional), 4)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.conv(x.unsqueeze(1)))
        batch, channels, bands, frames = y.shape
        y, _ = self.rnn(y.permute(0, 3, 1, 2).reshape(batch, frames, channels * bands))
        return self.head(y[:, -1])


class LstmBothWays(nn.Module):
    """Two layers in both directions, whose last states are read."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(BANDS, BANDS, 3, padding=1)
        self.rnn = nn.LSTM(BANDS, 6, 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        _, (hidden, _) = self.rnn(F.relu(self.conv(x)).transpose(1, 2))
        return self.head(torch.cat([hidden[-2], hidden[-1]], dim=1))


class NormOverTime(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(BANDS, BANDS, 3, padding=1)
        self.norm = nn.LayerNorm(FRAMES)
        self.head = nn.Linear(BANDS, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.norm(self.conv(x))).mean(-1))


class Encoder(nn.Module):
    """A transformer encoder with a table of positions, which takes clips of one length."""

    def __init__(self) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(1, FRAMES, BANDS))
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(BANDS, 2, 16, batch_first=True), 1)
        self.head = nn.Linear(BANDS, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x.transpose(1, 2) + self.positions).mean(1))


class MaskedEncoder(Encoder):
    """Each frame attends to those before it; nothing is padded, as in collated clips of one length."""

    def forward(self, x: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(FRAMES, dtype=x.dtype)
        padding = torch.zeros(len(x), FRAMES, dtype=x.dtype)
        y = self.encoder(x.transpose(1, 2) + self.positions, mask, src_key_padding_mask=padding, is_causal=True)
        return self.head(y.mean(1))


class NearAttention(Causal):
    """Each frame attends to its neighbours, the nearer the more."""

    def __init__(self) -> None:
        super().__init__(3)
        self.head = nn.Linear(BANDS, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(F.conv1d(x, self.conv.weight, self.conv.bias, padding=1)).transpose(1, 2)
        far = (torch.arange(FRAMES)[:, None] - torch.arange(FRAMES)).abs()
        bias = torch.where(far > 4, -torch.inf, -0.25 * far).to(x.dtype)
        return self.head(F.scaled_dot_product_attention(y, y, y, bias).mean(1))


class CausalAttention(NearAttention):
    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(F.conv1d(x, self.conv.weight, self.conv.bias, padding=1)).transpose(1, 2)
        return self.head(F.scaled_dot_product_attention(y, y, y, is_causal=True).mean(1))


class Positions(nn.Module):
    """A mean of frames with weights by position, which forward makes to fit any length."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Causal(3)
        self.head = nn.Linear(BANDS, 4)

    def forward(self, x: Tensor) -> Tensor:
        weights = torch.linspace(0, 1, x.shape[-1], dtype=x.dtype)
        return self.head((self.body(x) * weights).sum(-1))


class UnevenHead(_Head):
    """Parts of six and of seven frames."""

    def __init__(self) -> None:
        super().__init__(6 * BANDS)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return self.head(torch.cat([F.adaptive_avg_pool1d(y, 3), F.adaptive_max_pool1d(y, 3)], dim=1).flatten(1))


class AttentionOverSensors(nn.Module):
    """Frames in the batch, joined again by a pool over time."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.body = Causal(3)
        self.head = nn.Linear(BANDS, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x).transpose(1, 2)
        batch, frames, _ = y.shape
        y = y.reshape(batch * frames, BANDS // 4, 4)
        return self.head(self.attention(y, y, y)[0].reshape(batch, frames, BANDS).mean(1))


INCREMENTAL: dict[str, type[nn.Module]] = {
    kind.__name__: kind
    for kind in (
        MeanHead, AdaptiveHead, PoolByLengthHead, PoolByNumberHead, LastHead, SelectHead, FlattenHead, AttentionPoolHead,
        GruHead, LstmHead, TwoLags, Positions, UnevenHead, AttentionOverSensors,
    )
}  # fmt: skip
SLIDING: dict[str, type[nn.Module]] = {
    kind.__name__: kind
    for kind in (Symmetric, Crnn, LstmBothWays, NormOverTime, Encoder, MaskedEncoder, NearAttention, CausalAttention)
}
# With up to three frames of look-ahead: how many it takes, and what is held; frames are held in front of a second padding.
LOOKING_AHEAD: dict[str, tuple[type[nn.Module], int, str]] = {
    "one layer": (OneSymmetric, 2, "the model: mean"),
    "two layers": (Symmetric, 1, "body.2: conv1d"),
    "bins": (SymmetricPatches, 1, "the model: mean"),
    "stride": (SymmetricStrided, 2, "the model: amax"),
}
