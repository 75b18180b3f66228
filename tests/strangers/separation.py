"""Separators of the asteroid kind: samples [B, 1, T] or encoded frames, masks for several speakers."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_esp import Streaming
from lightning_esp.errors import UnsupportedOperatorError
from tests.strangers.entry import Exports, Refused, Stranger, T


class ChannelLN(nn.Module):
    """Mean and deviation over the channels of each frame, written out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma, self.beta = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.transpose(1, 2), (x.shape[1],), self.gamma, self.beta, 1e-8).transpose(1, 2)


class GlobalLN(nn.Module):
    """Mean and deviation over channels and all of time."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma, self.beta = nn.Parameter(torch.ones(1, channels, 1)), nn.Parameter(torch.zeros(1, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(dim=(1, 2), keepdim=True)
        variance = (x - mean).pow(2).mean(dim=(1, 2), keepdim=True)
        return self.gamma * (x - mean) / (variance + 1e-8).sqrt() + self.beta


class CumulativeLN(nn.Module):
    """Mean and deviation over all frames so far."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma, self.beta = nn.Parameter(torch.ones(1, channels, 1)), nn.Parameter(torch.zeros(1, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        count = torch.arange(1, x.shape[-1] + 1).to(x) * x.shape[1]
        mean = (x.sum(1).cumsum(-1) / count).unsqueeze(1)
        power = (x.pow(2).sum(1).cumsum(-1) / count).unsqueeze(1)
        return self.gamma * (x - mean) / (power - mean.pow(2) + 1e-8).sqrt() + self.beta


class Conv1DBlock(nn.Module):
    """1x1, PReLU, norm, depthwise with the future cut off, and two 1x1 outputs."""

    def __init__(self, channels: int, hidden: int, dilation: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        padding = 2 * dilation
        self.shared = nn.Sequential(nn.Conv1d(channels, hidden, 1), nn.PReLU(), norm(hidden))
        self.depth = nn.Conv1d(hidden, hidden, 3, dilation=dilation, padding=padding, groups=hidden)
        self.chomp, self.tail = padding, nn.Sequential(nn.PReLU(), norm(hidden))
        self.res_conv, self.skip_conv = nn.Conv1d(hidden, channels, 1), nn.Conv1d(hidden, channels, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.tail(self.depth(self.shared(x))[..., : -self.chomp].contiguous())
        return self.res_conv(y), self.skip_conv(y)


class Masker(nn.Module):
    """A bottleneck, blocks whose skips are summed, a mask per speaker."""

    def __init__(self, bins: int, width: int, speakers: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.speakers, self.bins = speakers, bins
        self.bottleneck = nn.Sequential(norm(bins), nn.Conv1d(bins, width, 1))
        self.tcn = nn.ModuleList(Conv1DBlock(width, 2 * width, 2**i, norm) for i in range(3))
        self.mask_net = nn.Sequential(nn.PReLU(), nn.Conv1d(width, speakers * bins, 1))

    def forward(self, x: Tensor) -> Tensor:
        batch, _, frames = x.size()
        y = self.bottleneck(x)
        skips: Tensor | float = 0.0
        for block in self.tcn:
            residual, skip = block(y)
            y, skips = y + residual, skips + skip
        score = self.mask_net(skips).view(batch, self.speakers, self.bins, frames)
        return torch.relu(score)


class ConvTasNet(nn.Module):
    """A learned filter bank, masks, and the bank back to samples."""

    def __init__(self, norm: Callable[[int], nn.Module], speakers: int = 2) -> None:
        super().__init__()
        self.encoder = nn.Conv1d(1, 16, 8, stride=4, bias=False)
        self.masker = Masker(16, 12, speakers, norm)
        self.decoder = nn.ConvTranspose1d(16 * speakers, speakers, 8, stride=4, bias=False, groups=1)

    def forward(self, x: Tensor) -> Tensor:
        coded = F.relu(self.encoder(F.pad(x, (4, 0))))
        masked = self.masker(coded) * coded.unsqueeze(1)
        return self.decoder(masked.flatten(1, 2))[..., : x.shape[-1]]


class DualPath(nn.Module):
    """Chunks [B, N, K, S]: one layer along K inside a chunk, one along S from chunk to chunk."""

    def __init__(self, width: int, inner: str) -> None:
        super().__init__()
        if inner == "attention":
            self.inner: nn.Module = nn.TransformerEncoderLayer(width, 2, 2 * width, 0.0, batch_first=True)
        else:
            self.inner = nn.LSTM(width, width // 2, batch_first=True, bidirectional=True)
        self.across = nn.LSTM(width, width, batch_first=True)
        self.inner_fc, self.across_fc = nn.Linear(width, width), nn.Linear(width, width)
        self.inner_norm, self.across_norm = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        batch, width, size, chunks = x.shape
        y = x.permute(0, 3, 2, 1).reshape(batch * chunks, size, width)
        found = self.inner(y)
        y = self.inner_norm(self.inner_fc(found[0] if isinstance(found, tuple) else found))
        x = x + y.reshape(batch, chunks, size, width).permute(0, 3, 2, 1)
        y = x.permute(0, 2, 3, 1).reshape(batch * size, chunks, width)
        y = self.across_norm(self.across_fc(self.across(y)[0]))
        return x + y.reshape(batch, size, chunks, width).permute(0, 3, 1, 2)


class SuDoRMRF(nn.Module):
    """Down by strided depthwise convolutions, up again by nearest, all resolutions summed."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(nn.Conv1d(width, width, 1), nn.BatchNorm1d(width), nn.PReLU())
        self.down = nn.ModuleList(nn.Conv1d(width, width, 4, stride=2, groups=width) for _ in range(depth))
        self.up = nn.Upsample(scale_factor=2)
        self.final = nn.Sequential(nn.BatchNorm1d(width), nn.PReLU(), nn.Conv1d(width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        levels = [self.proj(x)]
        for layer in self.down:
            levels.append(layer(F.pad(levels[-1], (3, 0))))
        y = levels.pop()
        while levels:
            y = self.up(y) + levels.pop()
        return x + self.final(y)


STRANGERS = (
    Stranger("Conv-TasNet, norm per frame", lambda: ConvTasNet(ChannelLN), (1, T), Exports(15), frames=4),
    Stranger("Conv-TasNet, batch norm", lambda: ConvTasNet(nn.BatchNorm1d), (1, T), Exports(25), frames=4, slow=True),
    Stranger("Conv-TasNet, global norm", lambda: ConvTasNet(GlobalLN), (1, T),
             Refused(UnsupportedOperatorError, "all of time", "average the last N frames"), frames=4),
    Stranger("Conv-TasNet, cumulative norm", lambda: ConvTasNet(CumulativeLN), (1, T),
             Refused(UnsupportedOperatorError, "that forward makes to fit the length of the recording", "a parameter or buffer without a time axis"), frames=4),
    Stranger("Conv-TasNet masker, [B, speakers, bins, T]", lambda: Masker(16, 12, 2, ChannelLN), (16, T), Exports(20), slow=True),
    Stranger("DPRNN block, across chunks as they come", lambda: DualPath(8, "lstm"), (8, 4, T),
             Refused(UnsupportedOperatorError, "'inner' (LSTM): lstm runs along axis 1", "nn.Conv2d over the bins"), Streaming(time_axis=3)),
    Stranger("DPTNet block", lambda: DualPath(8, "attention"), (8, 4, T),
             Refused(UnsupportedOperatorError, "mixed with the batch", "axes of their own"), Streaming(time_axis=3)),
    Stranger("SuDoRM-RF block, causal", lambda: SuDoRMRF(8, 2), (8, T), Exports(30), frames=4),
)  # fmt: skip
