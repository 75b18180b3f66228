"""Audio taggers built of image blocks: YAMNet, MobileNetV2, EfficientNet, PANNs, VGGish, AST, CRNN for events."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_esp import Streaming
from lightning_esp.errors import NotCausalError, UnsupportedOperatorError
from tests.strangers.entry import Exports, Refused, Stranger, T

PAST = nn.ZeroPad2d((1, 1, 2, 0))


def conv_bn(inputs: int, outputs: int, kernel: int, stride: tuple[int, int], groups: int = 1) -> nn.Sequential:
    """[B, C, T, F]: a causal convolution with its norm."""
    pad = nn.ZeroPad2d((kernel // 2, kernel // 2, kernel - 1, 0))
    conv = nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
    return nn.Sequential(pad, conv, nn.BatchNorm2d(outputs, eps=1e-4))


class YAMNet(nn.Module):
    """MobileNet V1: depthwise and pointwise layers; scores per frame, or pooled over everything."""

    def __init__(self, pooled: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv_bn(1, 8, 3, (2, 2)), nn.ReLU(inplace=True)]
        for inputs, outputs, stride in ((8, 12, 1), (12, 16, 2)):
            layers += [conv_bn(inputs, inputs, 3, (stride, stride), inputs), nn.ReLU(inplace=True)]
            layers += [nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
        self.features, self.pooled = nn.Sequential(*layers), pooled
        self.classifier = nn.Linear(16, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        if self.pooled:
            return self.classifier(F.adaptive_avg_pool2d(x, (1, 1)).flatten(1))
        return self.classifier(x.mean(-1).transpose(1, 2)).sigmoid()


class InvertedResidual(nn.Module):
    """Wide, depthwise, narrow again; a squeeze over the bins of a frame, or over everything."""

    def __init__(self, inputs: int, outputs: int, stride: int, se: str = "", act: type[nn.Module] = nn.ReLU6) -> None:
        super().__init__()
        hidden = 3 * inputs
        self.expand = nn.Sequential(nn.Conv2d(inputs, hidden, 1, bias=False), nn.BatchNorm2d(hidden), act())
        self.depth = nn.Sequential(conv_bn(hidden, hidden, 3, (1, stride), hidden), act())
        self.fc1, self.fc2, self.se = nn.Conv2d(hidden, 4, 1), nn.Conv2d(4, hidden, 1), se
        self.project = nn.Sequential(nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.use_res = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.depth(self.expand(x))
        if self.se:
            s = y.mean(dim=3, keepdim=True) if self.se == "bins" else y.mean((2, 3), keepdim=True)
            y = y * torch.sigmoid(self.fc2(F.silu(self.fc1(s))))
        y = self.project(y)
        return x + y if self.use_res else y


class MobileNetV2(nn.Module):
    """Inverted residuals behind a strided stem."""

    def __init__(self, se: str, act: type[nn.Module]) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv_bn(1, 4, 3, (1, 2)), act())
        self.blocks = nn.Sequential(InvertedResidual(4, 6, 2, se, act), InvertedResidual(6, 6, 1, se, act))
        self.head = nn.Conv1d(6, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean(dim=-1))


class ConvBlock(nn.Module):
    """Two convolutions and average pooling, of bins and perhaps of frames."""

    def __init__(self, inputs: int, outputs: int, pool: tuple[int, int], causal: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=(0 if causal else 1, 1), bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=(0 if causal else 1, 1), bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        self.pool, self.past = pool, 2 if causal else 0

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu_(self.bn1(self.conv1(F.pad(x, (0, 0, self.past, 0)))))
        x = F.relu_(self.bn2(self.conv2(F.pad(x, (0, 0, self.past, 0)))))
        return F.avg_pool2d(x, kernel_size=self.pool)


class PANNs(nn.Module):
    """[B, 1, T, F]: a norm over bins, blocks, the mean over bins, then maximum and mean over time or nothing."""

    def __init__(self, bins: int, causal: bool = True, pooled: bool = False) -> None:
        super().__init__()
        self.bn0 = nn.BatchNorm2d(bins)
        self.block1, self.block2 = ConvBlock(1, 4, (1, 2), causal), ConvBlock(4, 8, (2, 2), causal)
        self.fc1, self.fc_audioset, self.pooled = nn.Linear(8, 12), nn.Linear(12, 5), pooled

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn0(x.transpose(1, 3)).transpose(1, 3)
        x = F.dropout(self.block2(self.block1(x)), 0.2, self.training)
        x = torch.mean(x, dim=3)
        x = torch.max(x, dim=2)[0] + torch.mean(x, dim=2) if self.pooled else x.transpose(1, 2)
        return torch.sigmoid(self.fc_audioset(F.relu_(self.fc1(x))))


class VGGish(nn.Module):
    """Patches of eight frames: convolutions and max pooling in both axes, then everything in one vector."""

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=(0, 1)), nn.ReLU(True), nn.MaxPool2d(2, 2), nn.Conv2d(4, 8, 3, padding=(0, 1)), nn.ReLU(True), nn.MaxPool2d(2, 2)
        )  # fmt: skip
        self.embeddings = nn.Sequential(nn.Linear(8 * bins // 4, 16), nn.ReLU(True), nn.Linear(16, 8))

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        x = x.transpose(1, 2).contiguous()
        return self.embeddings(x.view(x.size(0), x.size(1), -1))


class AST(nn.Module):
    """Patches as tokens with learned positions, a class token, a transformer."""

    def __init__(self, bins: int, width: int) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, width, (bins, 4), stride=(bins, 4))
        self.cls, self.pos = nn.Parameter(torch.randn(1, 1, width)), nn.Parameter(torch.randn(1, 400, width))
        layer = nn.TransformerEncoderLayer(width, 2, 2 * width, batch_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False), nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], dim=1)
        return self.head(self.encoder(x + self.pos[:, : x.shape[1]])[:, 0])


class EventCRNN(nn.Module):
    """The baseline of sound event detection: gated convolutions, a GRU; strong labels, and weak ones by attention."""

    def __init__(self, bins: int, bidirectional: bool, weak: bool) -> None:
        super().__init__()
        self.conv, self.gate = nn.Conv2d(1, 6, 3), nn.Linear(6, 6)
        self.bn, self.pool = nn.BatchNorm2d(6, eps=1e-3), nn.AvgPool2d([1, 4])
        self.rnn = nn.GRU(6 * bins // 4, 8, bidirectional=bidirectional, batch_first=True)
        self.dense, self.attention = nn.Linear(16 if bidirectional else 8, 4), nn.Linear(16 if bidirectional else 8, 4)
        self.weak = weak

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.bn(self.conv(PAST(x)))
        x = self.pool(x * torch.sigmoid(self.gate(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)))
        x = x.permute(0, 2, 1, 3)
        x, _ = self.rnn(x.flatten(2))
        strong = torch.sigmoid(self.dense(x))
        if not self.weak:
            return strong, self.attention(x)
        weights = torch.softmax(self.attention(x), dim=-1)
        return strong, (strong * weights).sum(1) / weights.sum(1)


TIME = Streaming(time_axis=2)
STRANGERS = (
    Stranger("YAMNet, per frame", lambda: YAMNet(False), (1, T, 16), Exports(40), TIME, frames=4),
    Stranger("YAMNet, pooled", lambda: YAMNet(True), (1, T, 16),
             Exports(32), TIME, frames=4, clip=True),
    Stranger("MobileNetV2 blocks", lambda: MobileNetV2("", nn.ReLU6), (1, T, 16), Exports(35), TIME),
    Stranger("EfficientNet-lite, SE over bins", lambda: MobileNetV2("bins", nn.SiLU), (1, T, 16), Exports(40), TIME, slow=True),
    Stranger("EfficientNet-lite, SE over all", lambda: MobileNetV2("all", nn.SiLU), (1, T, 16),
             Refused(UnsupportedOperatorError, "runs over all of time", "average the last N frames"), TIME),
    Stranger("PANNs CNN, causal, per frame", lambda: PANNs(16), (1, T, 16), Exports(40), TIME, frames=2, slow=True),
    Stranger("PANNs CNN, as published", lambda: PANNs(16, False), (1, T, 16),
             Refused(NotCausalError, "looks ahead", "Streaming(lookahead="), TIME, frames=2),
    Stranger("PANNs CNN, with look-ahead", lambda: PANNs(16, False), (1, T, 16), Exports(40),
             Streaming(time_axis=2, lookahead=4), frames=2, slow=True),
    Stranger("PANNs CNN, pooled", lambda: PANNs(16, True, True), (1, T, 16),
             Exports(40), TIME, frames=2, clip=True),
    Stranger("VGGish on patches", lambda: VGGish(16), (1, T, 16), Exports(35), TIME, frames=4),
    Stranger("AST", lambda: AST(16, 8), (1, 16, T), Exports(30), Streaming(time_axis=3), frames=4, clip=True, slow=True),
    Stranger("Sound event CRNN, one direction", lambda: EventCRNN(16, False, False), (1, T, 16), Exports(30), TIME, slow=True),
    Stranger("Sound event CRNN, both directions", lambda: EventCRNN(16, True, False), (1, T, 16),
             Refused(UnsupportedOperatorError, "runs backwards too", "bidirectional=False"), TIME),
    Stranger("Sound event CRNN, weak labels too", lambda: EventCRNN(16, False, True), (1, T, 16),
             Refused(UnsupportedOperatorError, "sum runs over all of time", "average the last N frames"), TIME),
)  # fmt: skip
