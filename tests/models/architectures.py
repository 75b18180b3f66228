"""Well-known streaming architectures, small, as plain offline code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.models.pieces import CausalConv, randomise


class KeywordTcn(nn.Module):
    """Depthwise-separable residual blocks with growing dilation, as in the recipe."""

    def __init__(self, features: int = 5, channels: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv1d(features, channels, 1)
        self.depthwise = nn.ModuleList(nn.Conv1d(channels, channels, 3, dilation=d, groups=channels) for d in (1, 2, 4))
        self.pointwise = nn.ModuleList(nn.Conv1d(channels, channels, 1) for _ in range(3))
        self.norms = nn.ModuleList(nn.BatchNorm1d(channels) for _ in range(3))
        self.head = nn.Conv1d(channels, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        assert x.ndim == 3, "expected [batch, features, time]"
        if x.shape[1] != self.stem.in_channels:
            raise ValueError("wrong number of features")
        x = self.stem(x)
        for depthwise, pointwise, norm in zip(self.depthwise, self.pointwise, self.norms, strict=True):
            y = depthwise(F.pad(x, (2 * depthwise.dilation[0], 0)))
            x = F.relu(norm(pointwise(y)) + x)
        return self.head(x)


class TcResBlock(nn.Module):
    """Two convs of kernel 9, the first with stride 2, and a strided shortcut."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 9) -> None:
        super().__init__()
        self.pad = nn.ConstantPad1d((kernel - 1, 0), 0.0)
        self.first = nn.Conv1d(inputs, outputs, kernel, stride=2, bias=False)
        self.first_norm = nn.BatchNorm1d(outputs)
        self.second = nn.Conv1d(outputs, outputs, kernel, bias=False)
        self.second_norm = nn.BatchNorm1d(outputs)
        self.shortcut = nn.Sequential(nn.Conv1d(inputs, outputs, 1, stride=2, bias=False), nn.BatchNorm1d(outputs))
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.first_norm(self.first(self.pad(x))))
        y = self.second_norm(self.second(self.pad(y)))
        y += self.shortcut(x)
        return self.act(y)


def tc_resnet() -> nn.Module:
    """A residual TC-ResNet with stride 4."""
    return nn.Sequential(CausalConv(5, 6, 3, bias=False), TcResBlock(6, 8), TcResBlock(8, 8, 5), nn.Conv1d(8, 3, 1))


class BroadcastBlock(nn.Module):
    """The block of BC-ResNet on `[batch, channels, bins, time]`: 2-D over bins, 1-D over time, broadcast back."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.over_bins = nn.Conv2d(channels, channels, (3, 1), padding=(1, 0), groups=channels, bias=False)
        self.bins_norm = nn.BatchNorm2d(channels)
        self.past = 2 * dilation
        self.over_time = nn.Conv2d(channels, channels, (1, 3), dilation=(1, dilation), groups=channels, bias=False)
        self.time_norm = nn.BatchNorm2d(channels)
        self.mix = nn.Conv2d(channels, channels, 1)
        self.dropout = nn.Dropout2d(0.1)

    def forward(self, x: Tensor) -> Tensor:
        two = self.bins_norm(self.over_bins(x))
        one = F.pad(two.mean(dim=2, keepdim=True), (self.past, 0, 0, 0))
        one = F.silu(self.time_norm(self.over_time(one)))
        return F.relu(x + two + self.dropout(self.mix(one)))


def bc_resnet() -> nn.Module:
    """A BC-ResNet-like 2-D model."""
    stem = nn.Conv2d(1, 4, (5, 1), stride=(2, 1), padding=(2, 0))
    return nn.Sequential(
        stem, BroadcastBlock(4, 1), BroadcastBlock(4, 2), nn.AdaptiveAvgPool2d((1, None)), nn.Flatten(1, 2)
    )


class SeparableBlock(nn.Module):
    """Depthwise and pointwise convs, repeated, with a residual, as in MatchboxNet."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*self._layer(inputs, outputs, kernel), *self._layer(outputs, outputs, kernel)[:-2])
        self.shortcut = nn.Sequential(nn.Conv1d(inputs, outputs, 1, bias=False), nn.BatchNorm1d(outputs))

    @staticmethod
    def _layer(inputs: int, outputs: int, kernel: int) -> list[nn.Module]:
        depthwise = CausalConv(inputs, inputs, kernel, groups=inputs, bias=False)
        pointwise = nn.Conv1d(inputs, outputs, 1, bias=False)
        return [depthwise, pointwise, nn.BatchNorm1d(outputs), nn.ReLU(), nn.Dropout(0.1)]

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.layers(x) + self.shortcut(x))


def matchboxnet() -> nn.Module:
    """MatchboxNet-like separable convs, kernels longer than short recordings."""
    first = nn.Sequential(CausalConv(5, 6, 11, stride=2), nn.BatchNorm1d(6), nn.ReLU())
    return nn.Sequential(first, SeparableBlock(6, 6, 13), SeparableBlock(6, 4, 15), CausalConv(4, 4, 5, dilation=2))


class WaveNet(nn.Module):
    """Gated dilated convs with skip connections from every layer; two convs read one padded tensor."""

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv1d(3, channels, 1)
        self.filters = nn.ModuleList(nn.Conv1d(channels, channels, 2, dilation=2**i) for i in range(4))
        self.gates = nn.ModuleList(nn.Conv1d(channels, channels, 2, dilation=2**i) for i in range(4))
        self.residuals = nn.ModuleList(nn.Conv1d(channels, channels, 1) for _ in range(4))
        self.head = nn.Conv1d(channels, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x, skips = self.stem(x), 0.0
        for i, (filter_, gate, residual) in enumerate(zip(self.filters, self.gates, self.residuals, strict=True)):
            padded = F.pad(x, (2**i, 0))
            y = torch.tanh(filter_(padded)) * torch.sigmoid(gate(padded))
            skips = skips + y
            x = x + residual(y)
        return self.head(F.relu(skips))


class ValidWaveNet(WaveNet):
    """The same without padding: the skips are cut to the frames that are left."""

    def forward(self, x: Tensor) -> Tensor:
        x, skips = self.stem(x), []
        for filter_, gate, residual in zip(self.filters, self.gates, self.residuals, strict=True):
            y = torch.tanh(filter_(x)) * torch.sigmoid(gate(x))
            skips.append(y)
            x = x[:, :, -y.shape[2] :] + residual(y)
        return self.head(F.relu(sum(skip[:, :, -x.shape[2] :] for skip in skips)))


class UNet(nn.Module):
    """Encoder and decoder with strides and skips, cut to the length of the input."""

    def __init__(self) -> None:
        super().__init__()
        self.down1 = CausalConv(3, 4, 5, stride=2)
        self.down2 = CausalConv(4, 6, 4, stride=2)
        self.middle = CausalConv(6, 6, 3, dilation=2)
        self.up2 = nn.ConvTranspose1d(6, 4, 4, stride=2)
        self.up1 = nn.ConvTranspose1d(8, 3, 5, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        first = F.silu(self.down1(x))
        second = F.silu(self.down2(first))
        y = F.silu(self.up2(torch.tanh(self.middle(second))))[..., : first.shape[-1]]
        return self.up1(torch.cat([y, first], dim=1))[..., : x.shape[-1]] + x


class MaskedCodec(nn.Module):
    """A causal Conv-TasNet: overlapping frames of samples, a mask for each, samples again; the least padding possible."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Conv1d(1, 6, 8, stride=4), nn.ConvTranspose1d(6, 1, 8, stride=4)
        self.mask = nn.Sequential(
            CausalConv(6, 6, 3), nn.PReLU(), CausalConv(6, 6, 3, dilation=2, groups=6), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        frames = F.relu(self.encoder(F.pad(x, (4, 0))))
        return self.decoder(frames * self.mask(frames))[..., : x.shape[-1]]


class DenseNet(nn.Module):
    """Every layer reads all before it, with branches of different kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv1d(3 + 2 * i, 2, 2 + i, dilation=1 + i) for i in range(4))

    def forward(self, x: Tensor) -> Tensor:
        for i, conv in enumerate(self.convs):
            x = torch.cat([x, torch.tanh(conv(F.pad(x, [(1 + i) * (1 + i), 0])))], dim=1)
        return x


class Crnn(nn.Module):
    """Strided convs in front of recurrent layers and a linear head, `[batch, time, bins]` in and out."""

    def __init__(self, kind: type[nn.GRU] | type[nn.LSTM] = nn.GRU, layers: int = 2) -> None:
        super().__init__()
        self.conv = CausalConv(4, 6, 3, stride=2)
        self.rnn = kind(6, 5, layers, batch_first=True)
        self.norm = nn.LayerNorm(5)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.conv(x.transpose(1, 2))).transpose(1, 2)
        y, _ = self.rnn(y)
        return self.head(self.norm(y))


class SqueezeExcite(nn.Module):
    """Per frame: channels weighted by what the pooled bins say, `[batch, channels, time, bins]`."""

    def __init__(self, act: Callable[[Tensor], Tensor] = F.gelu, channels: int = 4) -> None:
        super().__init__()
        self.act = act
        self.conv = nn.Conv2d(1, channels, (3, 3), padding=(0, 1))
        self.pool = nn.AdaptiveAvgPool2d((None, 1))
        self.down, self.up = nn.Conv2d(channels, 2, 1), nn.Conv2d(2, channels, 1)
        self.head = nn.Linear(channels * 6, 3)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, frames, _ = x.shape
        x = self.act(self.conv(F.pad(x, (0, 0, 2, 0))))
        x = x * torch.sigmoid(self.up(F.relu(self.down(self.pool(x)))))
        return self.head(x.permute(0, 2, 1, 3).reshape(batch, frames, -1))


class ConvolutionModule(nn.Module):
    """That of a causal Conformer: a gate between the padding and the depthwise conv, `[batch, time, channels]`."""

    def __init__(self, channels: int = 4, kernel: int = 5) -> None:
        super().__init__()
        self.past = kernel - 1
        self.before = nn.LayerNorm(channels)
        self.expand = nn.Conv1d(channels, 2 * channels, 1)
        self.depthwise = nn.Conv1d(channels, channels, kernel, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.mix = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.pad(self.before(x).transpose(1, 2), (self.past, 0), "constant", 0.0)
        y = self.depthwise(F.glu(self.expand(y), dim=1)).transpose(1, 2)
        return x + self.mix(F.silu(self.norm(y)).transpose(1, 2)).transpose(1, 2)


def conformer() -> nn.Module:
    """Feed-forward halves around convolution modules, without attention."""
    feed = nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 8), nn.SiLU(), nn.Dropout(0.1), nn.Linear(8, 4))
    return nn.Sequential(nn.Linear(5, 4), ConvolutionModule(), feed, ConvolutionModule(kernel=3), nn.Linear(4, 3))


class Denoiser(nn.Module):
    """A CRN: strided 2-D encoder, recurrent middle, decoder with skips, `[batch, time, bins]` in and out."""

    def __init__(self) -> None:
        super().__init__()
        self.down1 = nn.Conv2d(1, 4, (2, 3), stride=(1, 2), padding=(1, 0))
        self.down2 = nn.Conv2d(4, 6, (2, 3), stride=(1, 2), padding=(1, 0))
        self.norm1, self.norm2 = nn.BatchNorm2d(4), nn.BatchNorm2d(6)
        self.rnn = nn.GRU(18, 18, batch_first=True)
        self.up2 = nn.ConvTranspose2d(12, 4, (2, 3), stride=(1, 2))
        self.up1 = nn.ConvTranspose2d(8, 1, (2, 3), stride=(1, 2))

    def forward(self, x: Tensor) -> Tensor:
        first = F.elu(self.norm1(self.down1(x.unsqueeze(1))[:, :, :-1, :]))
        second = F.elu(self.norm2(self.down2(first)[:, :, :-1, :]))
        batch, channels, frames, bins = second.shape
        y = self.rnn(second.permute(0, 2, 1, 3).reshape(batch, frames, -1))[0]
        y = y.reshape(batch, frames, channels, bins).permute(0, 2, 1, 3)
        y = F.elu(self.up2(torch.cat((y, second), dim=1))[:, :, :-1, :])
        return torch.sigmoid(self.up1(torch.cat((y, first), dim=1))[:, :, :-1, :]).squeeze(1)


@dataclass(frozen=True)
class Named:
    """An architecture, the shape of its example and its time axis."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    axis: int = 2
    recurrent: bool = False
    shortest: int = 1

    def module(self, seed: int = 0) -> nn.Module:
        """The module in float64 with random weights."""
        return randomise(self.make(), seed)

    def recording(self, frames: int, batch: int = 1, seed: int = 1) -> Tensor:
        """A random recording."""
        shape = [batch if i == 0 else frames if i == self.axis else n for i, n in enumerate(self.shape)]
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


NAMED: Mapping[str, Named] = {
    "keyword_tcn": Named(KeywordTcn, (1, 5, 24)),
    "tc_resnet": Named(tc_resnet, (1, 5, 24)),
    "bc_resnet": Named(bc_resnet, (1, 1, 10, 24), axis=3),
    "matchboxnet": Named(matchboxnet, (1, 5, 24)),
    "wavenet": Named(WaveNet, (1, 3, 24)),
    "valid_wavenet": Named(ValidWaveNet, (1, 3, 24), shortest=16),
    "unet": Named(UNet, (1, 3, 24)),
    "masked_codec": Named(MaskedCodec, (1, 1, 24), shortest=4),
    "densenet": Named(DenseNet, (1, 3, 24)),
    "gru": Named(Crnn, (1, 24, 4), axis=1, recurrent=True),
    "lstm": Named(lambda: Crnn(nn.LSTM, 3), (1, 24, 4), axis=1, recurrent=True),
    "conformer": Named(conformer, (1, 24, 5), axis=1),
    "denoiser": Named(Denoiser, (1, 24, 15), axis=1, recurrent=True),
    "squeeze_excite": Named(SqueezeExcite, (1, 1, 24, 6)),
}
