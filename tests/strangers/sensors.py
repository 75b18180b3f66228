"""Classifiers of sensor signals of the tsai kind: [B, C, T] with a score per frame, or of the whole recording."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_esp import Streaming
from lightning_esp.errors import NotCausalError, UnsupportedOperatorError
from tests.strangers.entry import Exports, Refused, Stranger, T


def conv_block(inputs: int, outputs: int, kernel: int, act: bool = True, causal: bool = True) -> nn.Sequential:
    """Convolution, norm, activation."""
    layers: list[nn.Module] = [nn.ConstantPad1d((kernel - 1, 0), 0.0)] if causal else []
    layers.append(nn.Conv1d(inputs, outputs, kernel, padding=0 if causal else "same", bias=False))
    return nn.Sequential(*layers, nn.BatchNorm1d(outputs), *([nn.ReLU()] if act else []))


class GAP1d(nn.Module):
    """The mean over time, flat."""

    def __init__(self) -> None:
        super().__init__()
        self.gap, self.flatten = nn.AdaptiveAvgPool1d(1), nn.Flatten()

    def forward(self, x: Tensor) -> Tensor:
        return self.flatten(self.gap(x))


class FCN(nn.Module):
    """Three blocks of falling kernels."""

    def __init__(self, channels: int, pooled: bool, causal: bool = True) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            conv_block(channels, 12, 7, causal=causal),
            conv_block(12, 16, 5, causal=causal),
            conv_block(16, 12, 3, causal=causal),
        )
        self.head = nn.Sequential(GAP1d(), nn.Linear(12, 4)) if pooled else nn.Conv1d(12, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.convs(x))


class ResBlock(nn.Module):
    """Three convolutions and a shortcut that is a norm where the channels agree."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convblock1, self.convblock2 = conv_block(inputs, outputs, 7), conv_block(outputs, outputs, 5)
        self.convblock3 = conv_block(outputs, outputs, 3, act=False)
        self.shortcut = nn.BatchNorm1d(inputs) if inputs == outputs else conv_block(inputs, outputs, 1, act=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.convblock3(self.convblock2(self.convblock1(x)))
        y = torch.add(y, self.shortcut(x))
        return F.relu(y)


class Inception(nn.Module):
    """A bottleneck, three kernel sizes, and a pooled branch."""

    def __init__(self, inputs: int, width: int, causal: bool) -> None:
        super().__init__()
        self.causal, self.kernels = causal, (9, 5, 3)
        self.bottleneck = nn.Conv1d(inputs, width, 1, bias=False)
        self.convs = nn.ModuleList(
            nn.Conv1d(width, width, k, padding=0 if causal else "same", bias=False) for k in self.kernels
        )
        self.maxpool = nn.MaxPool1d(3, stride=1, padding=0 if causal else 1)
        self.pool_conv, self.bn = nn.Conv1d(inputs, width, 1, bias=False), nn.BatchNorm1d(4 * width)

    def past(self, x: Tensor, kernel: int, value: float = 0.0) -> Tensor:
        return F.pad(x, (kernel - 1, 0), value=value) if self.causal else x

    def forward(self, x: Tensor) -> Tensor:
        y = self.bottleneck(x)
        parts = [conv(self.past(y, k)) for conv, k in zip(self.convs, self.kernels, strict=True)]
        pooled = self.pool_conv(self.maxpool(self.past(x, 3, -100.0 if self.causal else 0.0)))
        return F.relu(self.bn(torch.cat([*parts, pooled], dim=1)))


class InceptionTime(nn.Module):
    """Modules with a shortcut over all of them."""

    def __init__(self, channels: int, causal: bool) -> None:
        super().__init__()
        self.inception = nn.ModuleList([Inception(channels, 4, causal), Inception(16, 4, causal)])
        self.shortcut, self.bn = nn.Conv1d(channels, 16, 1, bias=False), nn.BatchNorm1d(16)
        self.fc = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        residual = self.bn(self.shortcut(x))
        for module in self.inception:
            x = module(x)
        return self.fc(F.relu(x + residual).permute(0, 2, 1)).permute(0, 2, 1)


class Xception(nn.Module):
    """Separable convolutions of several sizes; adaptive pooling at the end, or a score per frame."""

    def __init__(self, channels: int, pooled: bool) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Sequential(nn.ConstantPad1d((k - 1, 0), 0.0), nn.Conv1d(channels, channels, k, groups=channels), nn.Conv1d(channels, 6, 1))
            for k in (11, 7, 3)
        )  # fmt: skip
        self.norm, self.head = nn.BatchNorm1d(18), nn.Conv1d(18, 4, 1)
        self.pool = nn.AdaptiveAvgPool1d(8) if pooled else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(torch.cat([conv(x) for conv in self.convs], 1))
        return self.head(self.pool(F.elu(y)))


class OmniScale(nn.Module):
    """Kernels of all prime sizes in one convolution, by a mask on its weights."""

    def __init__(self, channels: int, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.longest = max(sizes)
        self.conv, self.bn = nn.Conv1d(channels, 3 * len(sizes), self.longest), nn.BatchNorm1d(3 * len(sizes))
        mask = torch.zeros(3 * len(sizes), channels, self.longest)
        for i, size in enumerate(sizes):
            mask[3 * i : 3 * i + 3, :, self.longest - size :] = 1.0
        self.weight_mask, self.head = nn.Parameter(mask, requires_grad=False), nn.Conv1d(3 * len(sizes), 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        self.conv.weight.data = self.conv.weight * self.weight_mask
        return self.head(F.relu(self.bn(self.conv(F.pad(x, (self.longest - 1, 0))))))


class LSTMFCN(nn.Module):
    """An LSTM and an FCN side by side, joined per frame; SE in the M form."""

    def __init__(self, channels: int, se: bool) -> None:
        super().__init__()
        self.rnn, self.rnn_dropout = nn.LSTM(channels, 8, batch_first=True), nn.Dropout(0.8)
        self.block1, self.block2 = conv_block(channels, 12, 7), conv_block(12, 8, 5)
        self.se = (
            nn.Sequential(nn.Linear(12, 4, bias=False), nn.ReLU(), nn.Linear(4, 12, bias=False), nn.Sigmoid())
            if se
            else None
        )
        self.fc = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        last = self.rnn_dropout(self.rnn(x.permute(0, 2, 1))[0])
        y = self.block1(x)
        if self.se is not None:
            y = y * self.se(y.mean(-1))[..., None]
        return self.fc(torch.cat([last, self.block2(y).transpose(1, 2)], dim=-1))


class Pooled(nn.Module):
    """A score per frame, averaged over the clip."""

    def __init__(self, frames: nn.Module) -> None:
        super().__init__()
        self.frames, self.pool = frames, GAP1d()

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.frames(x))


STRANGERS = (
    Stranger("FCN, per frame", lambda: FCN(6, False), (6, T), Exports(40)),
    Stranger("FCN, global pooling", lambda: FCN(6, True), (6, T),
             Exports(14), clip=True),
    Stranger('FCN, padding="same"', lambda: FCN(6, False, False), (6, T),
             Refused(NotCausalError, "needs 6 frame(s)", "Streaming(lookahead=6)")),
    Stranger('FCN, padding="same", with look-ahead', lambda: FCN(6, False, False), (6, T), Exports(20), Streaming(lookahead=6)),
    Stranger("ResNet1D, shortcuts of batch norms", lambda: nn.Sequential(ResBlock(6, 12), ResBlock(12, 12), nn.Conv1d(12, 4, 1)),
             (6, T), Exports(20)),
    Stranger("InceptionTime, causal", lambda: InceptionTime(6, True), (6, T), Exports(15)),
    Stranger("InceptionTime, as published", lambda: InceptionTime(6, False), (6, T),
             Refused(UnsupportedOperatorError, "max_pool1d pads time by 1 frame(s) of minus infinity on both sides", "F.pad(x, (kernel - 1, 0))")),
    Stranger("InceptionTime, as published, its mean over the clip", lambda: Pooled(InceptionTime(6, False)), (6, T), Exports(25), clip=True),
    Stranger("XceptionTime, per frame", lambda: Xception(6, False), (6, T), Exports(30)),
    Stranger("XceptionTime, adaptive pooling", lambda: Xception(6, True), (6, T),
             Exports(20), clip=True),
    Stranger("OmniScale CNN", lambda: OmniScale(6, (1, 2, 3, 5, 7)), (6, T), Exports(20)),
    Stranger("LSTM-FCN", lambda: LSTMFCN(6, False), (6, T), Exports(25)),
    Stranger("MLSTM-FCN, SE over the recording", lambda: LSTMFCN(6, True), (6, T),
             Refused(UnsupportedOperatorError, "runs over all of time", "average the last N frames")),
)  # fmt: skip
