"""Voice activity: Silero-like, pyannote-like, FSMN-VAD, CRNN, on samples and on features."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_esp import Streaming
from lightning_esp.errors import DeviceSafetyError, UnsupportedOperatorError
from tests.strangers.entry import Exports, Refused, Stranger, T


class STFT(nn.Module):
    """A Fourier basis as the weights of a strided convolution, and the magnitude."""

    def __init__(self, size: int, hop: int, root: bool) -> None:
        super().__init__()
        angles = 2 * math.pi * torch.outer(torch.arange(size // 2), torch.arange(size)) / size
        basis = torch.cat([angles.cos(), angles.sin()]) * torch.hann_window(size) / size**0.5
        self.register_buffer("forward_basis", basis[:, None])
        self.size, self.hop, self.root = size, hop, root

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv1d(F.pad(x.unsqueeze(1), (self.size - self.hop, 0)), self.forward_basis, stride=self.hop)
        real, imag = x[:, : self.size // 2], x[:, self.size // 2 :]
        power = real**2 + imag**2
        return torch.sqrt(power + 1e-4) if self.root else power


class SileroLike(nn.Module):
    """Samples [B, T]: magnitudes, four convolutions, an LSTM, one probability per frame."""

    def __init__(self, root: bool) -> None:
        super().__init__()
        self.stft = STFT(16, 8, root)
        self.encoder = nn.Sequential(
            nn.ConstantPad1d((2, 0), 0.0), nn.Conv1d(8, 16, 3), nn.ReLU(),
            nn.ConstantPad1d((2, 0), 0.0), nn.Conv1d(16, 16, 3, stride=2), nn.ReLU(),
        )  # fmt: skip
        self.rnn = nn.LSTM(16, 16, batch_first=True)
        self.decoder = nn.Sequential(nn.Dropout(0.1), nn.ReLU(), nn.Conv1d(16, 1, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.rnn(self.encoder(self.stft(x)).transpose(1, 2))
        return self.decoder(y.transpose(1, 2))


class SincConv(nn.Module):
    """Band-pass filters that follow from two parameters each."""

    def __init__(self, filters: int, size: int, stride: int) -> None:
        super().__init__()
        self.low, self.band = (
            nn.Parameter(torch.linspace(0.02, 0.3, filters)),
            nn.Parameter(torch.full((filters,), 0.08)),
        )
        self.register_buffer("n", torch.arange(size) - (size - 1) / 2)
        self.register_buffer("window", torch.hamming_window(size))
        self.stride, self.size = stride, size

    def forward(self, x: Tensor) -> Tensor:
        low = self.low.abs()[:, None]
        high = torch.clamp(low + self.band.abs()[:, None], max=0.5)
        filters = (2 * high * torch.sinc(2 * high * self.n) - 2 * low * torch.sinc(2 * low * self.n)) * self.window
        return F.conv1d(F.pad(x, (self.size - self.stride, 0)), filters[:, None], stride=self.stride)


class PyanNet(nn.Module):
    """Learned filters, pooling, LSTMs in one or two directions, a classifier per frame."""

    def __init__(self, bidirectional: bool) -> None:
        super().__init__()
        self.sinc, self.pool = SincConv(8, 15, 4), nn.MaxPool1d(3, stride=3)
        self.norm, self.conv, self.norm2 = nn.BatchNorm1d(8), nn.Conv1d(8, 8, 3), nn.BatchNorm1d(8)
        self.lstm = nn.LSTM(8, 12, 2, batch_first=True, bidirectional=bidirectional)
        self.linear, self.classifier = nn.Linear(24 if bidirectional else 12, 12), nn.Linear(12, 3)

    def forward(self, waveforms: Tensor) -> Tensor:
        x = F.leaky_relu(self.norm(self.pool(torch.abs(self.sinc(waveforms)))))
        x = F.leaky_relu(self.norm2(self.conv(F.pad(x, (2, 0)))))
        x, _ = self.lstm(x.permute(0, 2, 1))
        return torch.sigmoid(self.classifier(F.leaky_relu(self.linear(x))))


class FSMNVad(nn.Module):
    """[B, T, C]: affine and rectified layers around memory blocks; the softmax over the classes inside or not."""

    def __init__(self, bins: int, softmax: bool) -> None:
        super().__init__()
        self.softmax = softmax
        self.in1, self.in2, self.out = nn.Linear(bins, 16), nn.Linear(16, 16), nn.Linear(16, 4)
        self.linear = nn.ModuleList(nn.Linear(16, 8, bias=False) for _ in range(2))
        self.memory = nn.ModuleList(nn.Conv2d(8, 8, (5, 1), dilation=(d, 1), groups=8, bias=False) for d in (1, 2))
        self.affine = nn.ModuleList(nn.Linear(8, 16) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.in2(self.in1(x)))
        for linear, memory, affine in zip(self.linear, self.memory, self.affine, strict=True):
            p = linear(x)
            y = torch.unsqueeze(p, 1).permute(0, 3, 2, 1)
            y = memory(F.pad(y, [0, 0, 4 * memory.dilation[0], 0])) + y  # type: ignore[index,operator]
            x = F.relu(affine(y.permute(0, 3, 2, 1).squeeze(1)))
        x = self.out(x)
        return torch.softmax(x, dim=-1) if self.softmax else x


class CRNNVad(nn.Module):
    """[B, T, F] as a picture: convolutions, pooling over bins, a GRU; the score has no channel axis."""

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.BatchNorm2d(1), nn.ZeroPad2d((1, 1, 2, 0)), nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d((1, 4)),
            nn.ZeroPad2d((1, 1, 2, 0)), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d((1, 4)),
        )  # fmt: skip
        self.gru, self.fc = nn.GRU(8 * bins // 16, 12, batch_first=True), nn.Linear(12, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x[:, None]).transpose(1, 2).flatten(-2)
        return torch.sigmoid(self.fc(self.gru(y)[0])).squeeze(-1)


STRANGERS = (
    Stranger("Silero-like VAD, magnitudes", lambda: SileroLike(True), (T,), Exports(55), frames=16),
    Stranger("Silero-like VAD, powers", lambda: SileroLike(False), (T,), Exports(50), frames=16),
    Stranger("pyannote-like PyanNet, one direction", lambda: PyanNet(False), (1, T), Exports(45), frames=12, slow=True),
    Stranger("pyannote-like PyanNet, both directions", lambda: PyanNet(True), (1, T),
             Refused(UnsupportedOperatorError, "runs backwards too", "bidirectional=False"), frames=12),
    Stranger("FSMN-VAD, logits", lambda: FSMNVad(16, False), (T, 16), Exports(35)),
    Stranger("FSMN-VAD, softmax inside", lambda: FSMNVad(16, True), (T, 16),
             Refused(DeviceSafetyError, "Softmax", "return the logits")),
    Stranger("CRNN VAD, batch norm on the input", lambda: CRNNVad(16), (T, 16), Exports(40), Streaming(time_axis=1)),
)  # fmt: skip
