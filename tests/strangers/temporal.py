"""Generic sequence models: WaveNet, the TCN of the paper and of the package, FIR state spaces, mixers, gated convolutions."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from lightning_esp import Streaming
from lightning_esp.errors import ConfigurationError, NotCausalError, UnsupportedOperatorError
from tests.strangers.entry import Exports, Refused, Stranger, T


class WaveNet(nn.Module):
    """One-hot-free WaveNet: dilated gates with residual and skip paths, conditioned by a second convolution."""

    def __init__(self, channels: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.start = nn.Conv1d(1, channels, 1)
        self.filters = nn.ModuleList(nn.Conv1d(channels, channels, 2, dilation=d) for d in dilations)
        self.gates = nn.ModuleList(nn.Conv1d(channels, channels, 2, dilation=d) for d in dilations)
        self.residuals = nn.ModuleList(nn.Conv1d(channels, channels, 1) for _ in dilations)
        self.skips = nn.ModuleList(nn.Conv1d(channels, 12, 1) for _ in dilations)
        self.end1, self.end2, self.dilations = nn.Conv1d(12, 12, 1), nn.Conv1d(12, 8, 1), dilations

    def forward(self, x: Tensor) -> Tensor:
        x, total = self.start(x), 0
        for i, d in enumerate(self.dilations):
            y = F.pad(x, (d, 0))
            y = torch.tanh(self.filters[i](y)) * torch.sigmoid(self.gates[i](y))
            total = self.skips[i](y) + total
            x = self.residuals[i](y) + x
        return self.end2(F.relu(self.end1(F.relu(total))))


class Chomp1d(nn.Module):
    """Cut the end that symmetric padding made."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.chomp_size = size

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, : -self.chomp_size].contiguous()


class TemporalBlock(nn.Module):
    """Two weight-normed convolutions, each padded, chomped, rectified, dropped."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int, old: bool) -> None:
        super().__init__()
        norm = nn.utils.weight_norm if old else parametrizations.weight_norm
        padding, layers = (kernel - 1) * dilation, []
        for i in (inputs, outputs):
            conv = nn.Conv1d(i, outputs, kernel, padding=padding, dilation=dilation)
            layers += [norm(conv), Chomp1d(padding), nn.ReLU(), nn.Dropout(0.2)]
        self.net = nn.Sequential(*layers)
        self.downsample = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.net(x)
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class PackageTCN(nn.Module):
    """Blocks as the package has them: batch or layer norm, skips added or joined, an output projection, NLC outside."""

    def __init__(self, channels: int, norm: str, joined: bool) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv1d(i, 12, 4, dilation=d) for i, d in ((channels, 1), (12, 2)))
        self.norms = nn.ModuleList(nn.BatchNorm1d(12) if norm == "batch_norm" else nn.LayerNorm(12) for _ in range(2))
        self.downsample, self.joined, self.kind = nn.Conv1d(channels, 12, 1), joined, norm
        self.out = nn.Conv1d(24 if joined else 12, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        x, skips = x.transpose(1, 2), []
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            y = conv(F.pad(x, (3 * conv.dilation[0], 0)))  # type: ignore[index,operator]
            y = norm(y) if self.kind == "batch_norm" else norm(y.transpose(1, 2)).transpose(1, 2)
            skips.append(F.gelu(y, approximate="tanh"))
            x = F.relu(skips[-1] + (self.downsample(x) if i == 0 else x))
        y = torch.cat(skips, dim=1) if self.joined else skips[0] + skips[1]
        return self.out(y).transpose(1, 2)


class S4D(nn.Module):
    """Diagonal state spaces: the kernel follows from parameters; as a Fourier product, or as a filter of N frames."""

    def __init__(self, channels: int, states: int, taps: int) -> None:
        super().__init__()
        self.log_dt = nn.Parameter(torch.linspace(math.log(0.05), math.log(0.4), channels))
        self.c, self.taps = nn.Parameter(torch.randn(channels, states)), taps
        self.log_a = nn.Parameter(torch.log(0.5 + torch.arange(states).float()).repeat(channels, 1))
        self.d, self.mix = nn.Parameter(torch.randn(channels)), nn.Conv1d(channels, 2 * channels, 1)

    def kernel(self, length: int) -> Tensor:
        decay = -torch.exp(self.log_a) * torch.exp(self.log_dt)[:, None]
        powers = torch.exp(decay[..., None] * torch.arange(length).to(decay))
        return torch.einsum("cn,cnl->cl", self.c, powers) * torch.exp(self.log_dt)[:, None]

    def forward(self, u: Tensor) -> Tensor:
        if self.taps:
            k = self.kernel(self.taps).flip(-1)[:, None]
            y = F.conv1d(F.pad(u, (self.taps - 1, 0)), k, groups=u.shape[1])
        else:
            length = u.size(-1)
            k = torch.fft.rfft(self.kernel(length), n=2 * length)
            y = torch.fft.irfft(torch.fft.rfft(u, n=2 * length) * k, n=2 * length)[..., :length]
        y = torch.tanh(y + u * self.d.unsqueeze(-1))
        return F.glu(self.mix(y), dim=-2)


class ConvMixer(nn.Module):
    """Depthwise in a residual, then pointwise; activation before the norm."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.left, self.depth = kernel - 1, nn.Conv1d(width, width, kernel, groups=width)
        self.after, self.point = nn.Sequential(nn.SiLU(), nn.BatchNorm1d(width)), nn.Conv1d(width, width, 1)
        self.last = nn.Sequential(nn.SiLU(), nn.BatchNorm1d(width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.after(self.depth(F.pad(x, (self.left, 0))))
        return self.last(self.point(x))


class TokenMixer(nn.Module):
    """A linear layer over the frames themselves."""

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.mix = nn.Linear(frames, frames)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mix(x)


class Mixer(nn.Module):
    """The same with a layer over the channels behind it."""

    def __init__(self, frames: int, width: int) -> None:
        super().__init__()
        self.first, self.tokens = nn.LayerNorm(width), nn.Linear(frames, frames)
        self.second, self.channels = nn.LayerNorm(width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.tokens(self.first(x).transpose(1, 2)).transpose(1, 2)
        return x + F.gelu(self.channels(self.second(x)))


class ConvNeXt(nn.Module):
    """Depthwise, LayerNorm in the last axis, an inverted bottleneck, a scale per channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dwconv, self.norm = nn.Conv1d(width, width, 7, groups=width), nn.LayerNorm(width, eps=1e-6)
        self.pwconv1, self.act, self.pwconv2 = nn.Linear(width, 3 * width), nn.GELU(), nn.Linear(3 * width, width)
        self.gamma = nn.Parameter(0.3 * torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.dwconv(F.pad(x, (6, 0))).permute(0, 2, 1)
        y = self.gamma * self.pwconv2(self.act(self.pwconv1(self.norm(y))))
        return x + y.permute(0, 2, 1)


def locuslab(old: bool) -> nn.Module:
    return nn.Sequential(TemporalBlock(8, 12, 3, 1, old), TemporalBlock(12, 12, 3, 2, old), nn.Conv1d(12, 4, 1))


STRANGERS = (
    Stranger("WaveNet", lambda: WaveNet(8, (1, 2, 4)), (1, T), Exports(35)),
    Stranger("TCN of the paper, weight norm by hook", lambda: locuslab(True), (8, T), Exports(20)),
    Stranger("TCN of the paper, weight norm parametrized", lambda: locuslab(False), (8, T), Exports(20)),
    Stranger("TCN of the paper, in two stages", lambda: locuslab(False), (8, T), Exports(20), Streaming(stages=2)),
    Stranger("pytorch-tcn, batch norm, skips added", lambda: PackageTCN(8, "batch_norm", False), (T, 8), Exports(20)),
    Stranger("pytorch-tcn, layer norm, skips joined", lambda: PackageTCN(8, "layer_norm", True), (T, 8), Exports(20)),
    Stranger("S4D as a filter of 16 frames", lambda: S4D(8, 4, 16), (8, T), Exports(25)),
    Stranger("S4D by Fourier transform", lambda: S4D(8, 4, 0), (8, T), Refused(UnsupportedOperatorError, "fft_rfft has no streaming rule", "write streaming_forward")),
    Stranger("ConvMixer, causal", lambda: nn.Sequential(ConvMixer(8, 5), ConvMixer(8, 5)), (8, T), Exports(25)),
    Stranger("MLP-Mixer over time", lambda: TokenMixer(44), (8, T),
             Refused(ConfigurationError, "which axis of the input [1, 8, 44] is time, nothing tells", "Streaming(time_axis=2)")),
    Stranger("MLP-Mixer over time, its axis named", lambda: TokenMixer(44), (8, T),
             Refused(UnsupportedOperatorError, "'mix' (Linear): linear takes 44 frames", "causal convolutions"),
             Streaming(time_axis=2)),
    Stranger("MLP-Mixer, tokens and channels", lambda: Mixer(44, 8), (T, 8),
             Refused(ConfigurationError, "as a layer over all of time", "Streaming(time_axis=...)")),
    Stranger("ConvNeXt block", lambda: nn.Sequential(ConvNeXt(8), ConvNeXt(8)), (8, T), Exports(20)),
    Stranger("Symmetric convolution", lambda: nn.Sequential(nn.Conv1d(8, 8, 5, padding=2), nn.ReLU(), nn.Conv1d(8, 4, 1)), (8, T),
             Refused(NotCausalError, "needs 2 frame(s)", "Streaming(lookahead=2)")),
)  # fmt: skip
