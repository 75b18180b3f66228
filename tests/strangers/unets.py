"""Encoders and decoders with skips: CRN, DCCRN, Demucs, Wave-U-Net, TSTNN, SEANet."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from lightning_esp import Streaming
from lightning_esp.errors import UnsupportedOperatorError
from tests.strangers.entry import Exports, Refused, Stranger, T


class CRN(nn.Module):
    """[B, 1, T, F]: strided over bins, an LSTM in the middle, transposed convolutions with skips."""

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 4, (2, 3), (1, 2), (1, 1)), nn.Conv2d(4, 8, (2, 3), (1, 2), (1, 1))
        self.bn1, self.bn2, self.bn3 = nn.BatchNorm2d(4), nn.BatchNorm2d(8), nn.BatchNorm2d(4)
        self.lstm = nn.LSTM(2 * bins, 2 * bins, batch_first=True)
        self.up2 = nn.ConvTranspose2d(16, 4, (1, 3), (1, 2), (0, 1), output_padding=(0, 1))
        self.up1 = nn.ConvTranspose2d(8, 1, (1, 3), (1, 2), (0, 1), output_padding=(0, 1))

    def forward(self, x: Tensor) -> Tensor:
        # Padded on both sides of time, and cut at the end.
        e1 = F.elu(self.bn1(self.conv1(x)[:, :, :-1, :].contiguous()))
        e2 = F.elu(self.bn2(self.conv2(e1)[:, :, :-1, :].contiguous()))
        y = e2.permute(0, 2, 1, 3)
        q1, q2 = y.size(2), y.size(3)
        y, _ = self.lstm(y.reshape(y.size(0), -1, q1 * q2))
        y = y.contiguous().view(y.size(0), -1, q1, q2).permute(0, 2, 1, 3)
        d2 = F.elu(self.bn3(self.up2(torch.cat([y, e2], 1))))
        return F.softplus(self.up1(torch.cat([d2, e1], 1)))


class ComplexConv(nn.Module):
    """Real and imaginary parts as halves of the channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        options = {"kernel_size": (5, 2), "stride": (2, 1), "padding": (2, 0)}
        self.real = nn.Conv2d(inputs // 2, outputs // 2, **options)  # type: ignore[arg-type]
        self.imag = nn.Conv2d(inputs // 2, outputs // 2, **options)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, [1, 0, 0, 0])
        real, imag = torch.chunk(x, 2, 1)
        return torch.cat([self.real(real) - self.imag(imag), self.real(imag) + self.imag(real)], 1)


class DCCRN(nn.Module):
    """[B, 2, F, T]: complex convolutions, an LSTM, a bounded mask per bin by magnitude and phase as parts."""

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(
            nn.Sequential(ComplexConv(i, o), nn.BatchNorm2d(o), nn.PReLU()) for i, o in ((2, 8), (8, 8))
        )
        self.rnn, self.out = nn.LSTM(2 * bins, 16, batch_first=True), nn.Linear(16, 2 * bins)

    def forward(self, x: Tensor) -> list[Tensor]:
        y = x
        for layer in self.encoder:
            y = layer(y)
        batch, channels, bins, frames = y.shape
        y, _ = self.rnn(y.reshape(batch, channels * bins, frames).permute(0, 2, 1))
        mask = torch.tanh(self.out(y)).view(batch, frames, 2, x.shape[2]).permute(0, 2, 3, 1)
        real, imag, mr, mi = x[:, 0], x[:, 1], mask[:, 0], mask[:, 1]
        return [real * mr - imag * mi, real * mi + imag * mr]


class Demucs(nn.Module):
    """Samples: strided convolutions with GLU, an LSTM, transposed convolutions whose tail is cut, skips by addition."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        channels = 1
        for i in range(2):
            wide = hidden * (i + 1)
            self.encoder.append(
                nn.Sequential(nn.Conv1d(channels, wide, 4, 2), nn.ReLU(), nn.Conv1d(wide, 2 * wide, 1), nn.GLU(1))
            )
            last: list[nn.Module] = [nn.ReLU()] if i else []
            layers = [nn.Conv1d(wide, 2 * wide, 1), nn.GLU(1), nn.ConvTranspose1d(wide, channels, 4, 2), *last]
            self.decoder.insert(0, nn.Sequential(*layers))
            channels = wide
        self.lstm = nn.LSTM(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for layer in self.encoder:
            x = layer(F.pad(x, (2, 0)))
            skips.append(x)
        x = x.permute(2, 0, 1)
        x, _ = self.lstm(x)
        x = x.permute(1, 2, 0)
        for layer in self.decoder:
            skip = skips.pop(-1)
            x = layer(x + skip[..., : x.shape[-1]])[..., :-2]
        return x


class WaveUNet(nn.Module):
    """Every second frame is kept on the way down; linear interpolation on the way up."""

    def __init__(self, linear: bool) -> None:
        super().__init__()
        self.down, self.middle, self.up = nn.Conv1d(1, 8, 5), nn.Conv1d(8, 8, 5), nn.Conv1d(16, 8, 3)
        self.out, self.mode = nn.Conv1d(9, 1, 1), "linear" if linear else "nearest"

    def forward(self, x: Tensor) -> Tensor:
        d = F.leaky_relu(self.down(F.pad(x, (4, 0))), 0.1)
        y = F.leaky_relu(self.middle(F.pad(d[:, :, ::2], (4, 0))), 0.1)
        y = F.interpolate(y, scale_factor=2, mode=self.mode)
        y = F.leaky_relu(self.up(F.pad(torch.cat([y, d], 1), (2, 0))), 0.1)
        return torch.tanh(self.out(torch.cat([y, x], 1)))


class TSTNN(nn.Module):
    """Attention over the frames, a GRU behind it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention, self.norm = nn.MultiheadAttention(width, 2, batch_first=True), nn.LayerNorm(width)
        self.gru, self.out = nn.GRU(width, 2 * width, batch_first=True), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x + self.attention(x, x, x, need_weights=False)[0])
        return x + self.out(F.relu(self.gru(x)[0]))


class SConv(nn.Module):
    """A weight-normed convolution that pads the past, by zeros or by reflection."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1, mode: str = "constant"
    ) -> None:
        super().__init__()
        self.conv = parametrizations.weight_norm(nn.Conv1d(inputs, outputs, kernel, stride, dilation=dilation))
        self.left, self.mode = (kernel - 1) * dilation - (stride - 1), mode

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (self.left, 0), self.mode))


class SEANetEncoder(nn.Module):
    """Residual units, strided convolutions, an LSTM with a skip, all with ELU."""

    def __init__(self, width: int, mode: str) -> None:
        super().__init__()
        self.first = SConv(1, width, 7, mode=mode)
        self.unit = nn.Sequential(
            nn.ELU(), SConv(width, width // 2, 3, mode=mode), nn.ELU(), SConv(width // 2, width, 1)
        )
        self.down = nn.Sequential(nn.ELU(), SConv(width, 2 * width, 4, 2, mode=mode))
        self.lstm, self.last = nn.LSTM(2 * width, 2 * width), SConv(2 * width, 8, 7, mode=mode)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = self.down(x + self.unit(x)).permute(2, 0, 1)
        y, _ = self.lstm(x)
        return self.last(F.elu((y + x).permute(1, 2, 0)))


class SEANetDecoder(nn.Module):
    """The way back: transposed convolutions whose right end is cut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = SConv(8, 2 * width, 7)
        self.up = parametrizations.weight_norm(nn.ConvTranspose1d(2 * width, width, 4, stride=2))
        self.last = SConv(width, 1, 7)

    def forward(self, x: Tensor) -> Tensor:
        y = self.up(F.elu(self.first(x)))
        return torch.tanh(self.last(F.elu(y[..., : y.shape[-1] - 2])))


STRANGERS = (
    Stranger("CRN", lambda: CRN(16), (1, T, 16), Exports(20), Streaming(time_axis=2), slow=True),
    Stranger("DCCRN, complex convolutions, a list of outputs", lambda: DCCRN(16), (2, 16, T), Exports(20), Streaming(time_axis=3), slow=True),
    Stranger("Demucs, causal", lambda: Demucs(8), (1, T), Exports(40), frames=4),
    Stranger("Demucs, causal, three stages", lambda: Demucs(8), (1, T), Exports(40), Streaming(stages=3), frames=4),
    Stranger("Wave-U-Net, nearest", lambda: WaveUNet(False), (1, T), Exports(25), frames=2),
    Stranger("Wave-U-Net, linear interpolation", lambda: WaveUNet(True), (1, T),
             Refused(UnsupportedOperatorError, "mode='linear' reads the next frame", 'use mode="nearest"'), frames=2),
    Stranger("TSTNN block", lambda: TSTNN(8), (T, 8), Refused(UnsupportedOperatorError, "attends over all of time", "use nn.GRU or causal convolutions")),
    Stranger("SEANet encoder", lambda: SEANetEncoder(8, "constant"), (1, T), Exports(25), frames=2, slow=True),
    Stranger("SEANet encoder, reflected start", lambda: SEANetEncoder(8, "reflect"), (1, T),
             Refused(UnsupportedOperatorError, "pads time with mode='reflect', which copies frames", "pad with zeros"), frames=2),
    Stranger("SEANet decoder", lambda: SEANetDecoder(8), (8, T), Exports(25)),
)  # fmt: skip
