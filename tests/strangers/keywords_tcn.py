"""Keyword spotters of the wekws kind: [B, T, C] outside, [B, C, T] inside, a score per frame."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_esp import Streaming
from lightning_esp.errors import NotCausalError, UnsupportedOperatorError
from tests.strangers.entry import Exports, Refused, Stranger, T


class GlobalCMVN(nn.Module):
    """Mean and variance of the training set, as buffers."""

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.randn(bins) * 0.1)
        self.register_buffer("istd", torch.rand(bins) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) * self.istd


class TCNBlock(nn.Module):
    """Dilated convolution, padded on the left in forward; depthwise in its separable form."""

    def __init__(self, channels: int, kernel: int, dilation: int, separable: bool) -> None:
        super().__init__()
        self.padding = (kernel - 1) * dilation
        groups = channels if separable else 1
        layers: list[nn.Module] = [nn.Conv1d(channels, channels, kernel, dilation=dilation, groups=groups)]
        layers += [nn.BatchNorm1d(channels), nn.ReLU()]
        if separable:
            layers += [nn.Conv1d(channels, channels, 1), nn.BatchNorm1d(channels), nn.ReLU()]
        self.cnn = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.cnn(F.pad(x, (self.padding, 0), value=0.0)) + x


class MDTCStack(nn.Module):
    """Residual blocks of growing dilation."""

    def __init__(self, channels: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(MDTCBlock(channels, 5, d) for d in dilations)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


class MDTCBlock(nn.Module):
    """Depthwise dilated, two pointwise convolutions, each with a norm."""

    def __init__(self, channels: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.left = (kernel - 1) * dilation
        self.conv1 = nn.Conv1d(channels, channels, kernel, dilation=dilation, groups=channels)
        self.bn1, self.bn2, self.bn3 = (nn.BatchNorm1d(channels) for _ in range(3))
        self.conv2, self.conv3 = nn.Conv1d(channels, channels, 1), nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.conv1(F.pad(x, (self.left, 0))))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + x)


class MDTC(nn.Module):
    """Stacks whose outputs are summed."""

    def __init__(self, bins: int, channels: int) -> None:
        super().__init__()
        self.preprocessor = MDTCStack(bins, (1,))
        self.reduce = nn.Conv1d(bins, channels, 1)
        self.stacks = nn.ModuleList(MDTCStack(channels, (1, 2)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.reduce(self.preprocessor(x.transpose(1, 2))))
        total: Tensor | float = 0.0
        for stack in self.stacks:
            x = stack(x)
            total = total + x
        assert isinstance(total, Tensor)
        return total.transpose(1, 2)


class FSMNBlock(nn.Module):
    """A linear layer into a low rank, and a memory of frames before and after."""

    def __init__(self, width: int, rank: int, left: int, right: int) -> None:
        super().__init__()
        self.left, self.right = left, right
        self.shrink, self.grow = nn.Linear(width, rank, bias=False), nn.Linear(rank, width)
        self.past = nn.Conv2d(rank, rank, (left, 1), groups=rank, bias=False)
        self.future = nn.Conv2d(rank, rank, (right, 1), groups=rank, bias=False) if right else None

    def forward(self, x: Tensor) -> Tensor:
        p = self.shrink(x)
        y = p.unsqueeze(1).permute(0, 3, 2, 1)
        memory = y + self.past(F.pad(y, (0, 0, self.left - 1, 0)))
        if self.future is not None:
            memory = memory + self.future(F.pad(y, (0, 0, 0, self.right))[:, :, 1:])
        return F.relu(self.grow(memory.permute(0, 3, 2, 1).squeeze(1) + p))


class KWSModel(nn.Module):
    """Normalisation, a first linear layer, a backbone, a classifier with a sigmoid."""

    def __init__(self, bins: int, width: int, backbone: nn.Module, channels_last: bool = True) -> None:
        super().__init__()
        self.global_cmvn, self.channels_last = GlobalCMVN(bins), channels_last
        self.preprocessing = nn.Sequential(nn.Linear(bins, width), nn.ReLU())
        self.backbone = backbone
        self.classifier = nn.Linear(width, 2)
        self.activation = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        x = self.preprocessing(self.global_cmvn(x))
        x = self.backbone(x) if self.channels_last else self.backbone(x.transpose(1, 2)).transpose(1, 2)
        return self.activation(self.classifier(x))


class KWSRecurrent(nn.Module):
    """A GRU that takes and returns its state, as a runtime wants it."""

    def __init__(self, bins: int, width: int, returns_state: bool) -> None:
        super().__init__()
        self.returns_state = returns_state
        self.subsampling = nn.Sequential(nn.Linear(bins, width), nn.ReLU(), nn.Dropout(0.1))
        self.gru = nn.GRU(width, width, num_layers=2, batch_first=True)
        self.classifier = nn.Linear(width, 2)

    def forward(self, x: Tensor, state: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        y, state = self.gru(self.subsampling(x), state)
        scores = torch.sigmoid(self.classifier(y))
        return (scores, state) if self.returns_state else scores


def tcn(separable: bool) -> nn.Module:
    blocks = nn.Sequential(*(TCNBlock(16, 3, 2**i, separable) for i in range(3)))
    return KWSModel(16, 16, blocks, channels_last=False)


def fsmn(right: int) -> nn.Module:
    return KWSModel(16, 16, nn.Sequential(*(FSMNBlock(16, 8, 4, right) for _ in range(2))))


STRANGERS = (
    Stranger("wekws TCN", lambda: tcn(False), (T, 16), Exports(35)),
    Stranger("wekws DS-TCN", lambda: tcn(True), (T, 16), Exports(30), slow=True),
    Stranger("wekws MDTC", lambda: KWSModel(16, 12, nn.Sequential(nn.Linear(12, 16), MDTC(16, 12))), (T, 16), Exports(40), slow=True),
    Stranger("wekws FSMN, past only", lambda: fsmn(0), (T, 16), Exports(40)),
    Stranger("wekws FSMN, two frames of future", lambda: fsmn(2), (T, 16),
             Refused(NotCausalError, "needs 4 frame", "Streaming(lookahead=4)")),
    Stranger("wekws FSMN, with look-ahead", lambda: fsmn(2), (T, 16), Exports(40), Streaming(lookahead=4), slow=True),
    Stranger("wekws GRU", lambda: KWSRecurrent(16, 12, False), (T, 16), Exports(45)),
    Stranger("wekws GRU, its state returned", lambda: KWSRecurrent(16, 12, True), (T, 16),
             Refused(UnsupportedOperatorError, "it is a cache, a state or the last frame, as forward takes one", "return y alone")),
)  # fmt: skip
