"""Small-footprint keyword spotters: MixedNet, BC-ResNet, TC-ResNet, DS-CNN, res8, M5, CRNN, KWT."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_esp import Streaming
from tests.strangers.entry import Exports, Stranger, T


class MixConv(nn.Module):
    """A depthwise kernel size for each group of channels."""

    def __init__(self, channels: int, kernels: tuple[int, ...]) -> None:
        super().__init__()
        self.width, self.kernels = channels // len(kernels), kernels
        self.convs = nn.ModuleList(nn.Conv1d(self.width, self.width, k, groups=self.width) for k in kernels)

    def forward(self, x: Tensor) -> Tensor:
        parts = torch.split(x, self.width, dim=1)
        return torch.cat([c(F.pad(p, (k - 1, 0))) for c, p, k in zip(self.convs, parts, self.kernels, strict=True)], 1)


class MixedNet(nn.Module):
    """The streaming wake word network: strided first layer, mixed kernels, a score per frame."""

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.ConstantPad1d((2, 0), 0.0), nn.Conv1d(bins, 16, 5, stride=3, bias=False), nn.ReLU()
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(MixConv(16, k), nn.Conv1d(16, 16, 1, bias=False), nn.BatchNorm1d(16), nn.ReLU())
            for k in ((5, 3), (7, 11), (9, 13))
        )
        self.dense = nn.Linear(16, 1)

    def forward(self, spectrogram: Tensor) -> Tensor:
        x = self.first(spectrogram.permute(0, 2, 1))
        for i, block in enumerate(self.blocks):
            x = block(x) + x if i else block(x)
        return torch.sigmoid(self.dense(x.permute(0, 2, 1)))


class SubSpectralNorm(nn.Module):
    """A batch norm for each band of bins, by a view of the bands as channels."""

    def __init__(self, channels: int, bands: int) -> None:
        super().__init__()
        self.bands, self.bn = bands, nn.BatchNorm2d(channels * bands)

    def forward(self, x: Tensor) -> Tensor:
        b, c, f, t = x.shape
        return self.bn(x.view(b, c * self.bands, f // self.bands, t)).view(b, c, f, t)


class BCResBlock(nn.Module):
    """2-D over bins, the mean over bins, 1-D over time, broadcast back."""

    def __init__(self, inputs: int, channels: int, dilation: int) -> None:
        super().__init__()
        self.left = 2 * dilation
        self.change = None
        if inputs != channels:
            self.change = nn.Sequential(nn.Conv2d(inputs, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU())
        self.f2 = nn.Sequential(
            nn.Conv2d(channels, channels, (3, 1), padding=(1, 0), groups=channels, bias=False),
            SubSpectralNorm(channels, 2),
        )
        self.f1 = nn.Conv2d(channels, channels, (1, 3), dilation=(1, dilation), groups=channels, bias=False)
        self.after = nn.Sequential(nn.BatchNorm2d(channels), nn.SiLU(), nn.Conv2d(channels, channels, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.change is None else self.change(x)
        y = self.f2(y)
        mean = torch.mean(y, dim=2, keepdim=True)
        mean = self.after(self.f1(F.pad(mean, (self.left, 0))))
        return F.relu(y + mean + x if self.change is None else y + mean)


class BCResNet(nn.Module):
    """[B, 1, F, T]; the classifier per frame, or over the whole recording."""

    def __init__(self, pooled: bool) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Conv2d(1, 8, (5, 1), stride=(2, 1), padding=(2, 0)), nn.BatchNorm2d(8), nn.ReLU())
        self.blocks = nn.Sequential(BCResBlock(8, 4, 1), BCResBlock(4, 4, 1), BCResBlock(4, 6, 2))
        self.classifier, self.pooled = nn.Conv2d(6, 5, 1), pooled

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.head(x))
        if self.pooled:
            return self.classifier(F.adaptive_avg_pool2d(x, 1)).flatten(1)
        return self.classifier(x.mean(2, keepdim=True)).squeeze(2)


class TCResBlock(nn.Module):
    """Two convolutions of nine frames, the first strided, a shortcut with a norm of its own."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(inputs, outputs, 9, stride=2, bias=False)
        self.conv2 = nn.Conv1d(outputs, outputs, 9, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm1d(outputs), nn.BatchNorm1d(outputs)
        self.short = nn.Sequential(nn.Conv1d(inputs, outputs, 1, 2, bias=False), nn.BatchNorm1d(outputs), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(F.pad(x, (8, 0)))))
        return F.relu(self.bn2(self.conv2(F.pad(y, (8, 0)))) + self.short(x))


class TCResNet8(nn.Module):
    """The bins are channels; three blocks, a dropout, a linear layer."""

    def __init__(self, bins: int, pooled: bool) -> None:
        super().__init__()
        self.stem = nn.Conv1d(bins, 8, 3, bias=False)
        self.body = nn.Sequential(TCResBlock(8, 12), TCResBlock(12, 16))
        self.drop, self.fc, self.pooled = nn.Dropout(0.5), nn.Conv1d(16, 5, 1), pooled

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(self.stem(F.pad(x, (2, 0))))
        if self.pooled:
            y = F.avg_pool1d(y, kernel_size=y.shape[-1])
        return self.fc(self.drop(y))


class DSCNN(nn.Module):
    """[B, 1, T, F]: a strided 2-D layer and depthwise separable ones."""

    def __init__(self, bins: int, pooled: bool) -> None:
        super().__init__()
        self.pad, self.pooled = nn.ZeroPad2d((1, 1, 2, 0)), pooled
        self.first = nn.Sequential(nn.Conv2d(1, 8, (4, 4), stride=(2, 2)), nn.BatchNorm2d(8), nn.ReLU())
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.ReLU())
            for _ in range(2)
        )  # fmt: skip
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(self.pad(x))
        for layer in self.layers:
            x = layer(F.pad(x, (1, 1, 2, 0)))
        if self.pooled:
            return self.fc(F.avg_pool2d(x, kernel_size=x.shape[-2:]).squeeze())
        return self.fc(x.mean(dim=3).transpose(1, 2))


STRANGERS = (
    Stranger("microWakeWord MixedNet", lambda: MixedNet(16), (T, 16), Exports(40), frames=3),
    Stranger("BC-ResNet, per frame", lambda: BCResNet(False), (1, 16, T), Exports(45), Streaming(time_axis=3)),
    Stranger("BC-ResNet, pooled", lambda: BCResNet(True), (1, 16, T),
             Exports(40), Streaming(time_axis=3), clip=True, slow=True),
    Stranger("TC-ResNet8, per frame", lambda: TCResNet8(16, False), (16, T), Exports(35), frames=4),
    Stranger("TC-ResNet8, pooled", lambda: TCResNet8(16, True), (16, T),
             Exports(18), frames=4, clip=True, slow=True),
    Stranger("DS-CNN, per frame", lambda: DSCNN(16, False), (1, T, 16), Exports(40), Streaming(time_axis=2), frames=2),
    Stranger("DS-CNN, pooled", lambda: DSCNN(16, True), (1, T, 16),
             Exports(20), Streaming(time_axis=2), frames=2, clip=True),
)  # fmt: skip
