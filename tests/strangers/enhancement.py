"""Noise suppressors over frames of a spectrum: RNNoise, NSNet2, DTLN, PercepNet, FullSubNet, GTCRN, DeepFilterNet."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_esp import Streaming
from lightning_esp.errors import ConversionError, UnsupportedOperatorError
from tests.strangers.entry import Exports, Refused, Stranger, T


class RNNoise(nn.Module):
    """Three GRUs that see each other's outputs; gains per band and a voice activity."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.dense, self.vad_gru = nn.Linear(features, 8), nn.GRU(8, 8, batch_first=True)
        self.noise_gru = nn.GRU(features + 16, 12, batch_first=True)
        self.denoise_gru = nn.GRU(features + 20, 16, batch_first=True)
        self.gains, self.vad = nn.Linear(16, 10), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        dense = torch.tanh(self.dense(x))
        vad = F.relu(self.vad_gru(dense)[0])
        noise = F.relu(self.noise_gru(torch.cat([dense, vad, x], dim=-1))[0])
        y = F.relu(self.denoise_gru(torch.cat([vad, noise, x], dim=-1))[0])
        return torch.sigmoid(self.gains(y)), torch.sigmoid(self.vad(vad))


class NSNet2(nn.Module):
    """Dense, two GRUs, dense, a mask by sigmoid."""

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.fc1, self.rnn = nn.Linear(bins, 16), nn.GRU(16, 16, 2, batch_first=True)
        self.fc2, self.fc3 = nn.Linear(16, 24), nn.Linear(24, bins)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.rnn(self.fc1(x))
        return torch.sigmoid(self.fc3(F.relu(self.fc2(y))))


class DTLN(nn.Module):
    """A mask on magnitudes, then a second one in a learned space behind a norm of each frame."""

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.rnn1, self.mask1 = nn.LSTM(bins, 12, 2, batch_first=True), nn.Linear(12, bins)
        self.encoder, self.decoder = nn.Conv1d(bins, 20, 1, bias=False), nn.Conv1d(20, bins, 1, bias=False)
        self.gamma, self.beta = nn.Parameter(torch.ones(1, 1, 20)), nn.Parameter(torch.zeros(1, 1, 20))
        self.rnn2, self.mask2 = nn.LSTM(20, 12, 2, batch_first=True), nn.Linear(12, 20)

    def instant_norm(self, x: Tensor) -> Tensor:
        mean = x.mean(dim=-1, keepdim=True)
        variance = torch.mean(torch.square(x - mean), dim=-1, keepdim=True)
        return (x - mean) / torch.sqrt(variance + 1e-7) * self.gamma + self.beta

    def forward(self, magnitude: Tensor) -> Tensor:
        estimate = magnitude * torch.sigmoid(self.mask1(self.rnn1(magnitude)[0]))
        coded = self.encoder(estimate.permute(0, 2, 1)).permute(0, 2, 1)
        mask = torch.sigmoid(self.mask2(self.rnn2(self.instant_norm(coded))[0]))
        return self.decoder((coded * mask).permute(0, 2, 1))


class PercepNet(nn.Module):
    """Convolutions, stacked GRUs whose outputs are joined, gains and strengths, by name or not."""

    def __init__(self, features: int, named: bool) -> None:
        super().__init__()
        self.named = named
        self.fc = nn.Sequential(nn.Linear(features, 16), nn.ReLU())
        self.conv1, self.conv2 = nn.Conv1d(16, 16, 5), nn.Conv1d(16, 12, 3)
        self.gru1, self.gru2 = nn.GRU(12, 12, batch_first=True), nn.GRU(12, 12, batch_first=True)
        self.gb, self.rb = nn.Linear(36, 8), nn.Linear(24, 8)

    def forward(self, x: Tensor) -> dict[str, Tensor] | tuple[Tensor, Tensor]:
        y = self.fc(x).transpose(1, 2)
        y = torch.tanh(self.conv1(F.pad(y, (4, 0))))
        y = torch.tanh(self.conv2(F.pad(y, (2, 0)))).permute(0, 2, 1)
        a, _ = self.gru1(y)
        b, _ = self.gru2(a)
        gains = torch.sigmoid(self.gb(torch.cat((y, a, b), -1)))
        strengths = torch.sigmoid(self.rb(torch.cat((y, b), -1)))
        return {"gains": gains, "strengths": strengths} if self.named else (gains, strengths)


class FullSubNet(nn.Module):
    """A full-band LSTM, and one LSTM for every bin with its neighbours."""

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.full, self.full_out = nn.LSTM(bins, 12, batch_first=True), nn.Linear(12, bins)
        self.sub, self.sub_out = nn.LSTM(4, 8, batch_first=True), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        batch, bins, frames = x.shape
        full = F.relu(self.full_out(self.full(x.transpose(1, 2))[0])).transpose(1, 2)
        near = F.pad(x, (0, 0, 1, 1)).unfold(1, 3, 1).permute(0, 1, 3, 2)
        y = torch.cat([near, full.unsqueeze(2)], dim=2).reshape(batch * bins, 4, frames)
        y = self.sub_out(self.sub(y.permute(0, 2, 1))[0])
        return y.reshape(batch, bins, frames)


class GTConv(nn.Module):
    """Half of the channels through grouped convolutions, then shuffled with the rest."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        half, self.left = channels // 2, 2 * dilation
        self.point1 = nn.Sequential(nn.Conv2d(half, channels, 1), nn.BatchNorm2d(channels), nn.PReLU())
        self.depth = nn.Conv2d(channels, channels, 3, dilation=(dilation, 1), padding=(0, 1), groups=channels)
        self.depth_bn, self.depth_act = nn.BatchNorm2d(channels), nn.PReLU()
        self.point2 = nn.Sequential(nn.Conv2d(channels, half, 1), nn.BatchNorm2d(half))

    def forward(self, x: Tensor) -> Tensor:
        a, b = torch.chunk(x, chunks=2, dim=1)
        y = self.depth_act(self.depth_bn(self.depth(F.pad(self.point1(a), (0, 0, self.left, 0)))))
        y = self.point2(y)
        stacked = torch.stack([y, b], dim=1).transpose(1, 2).contiguous()
        batch, half, two, frames, bins = stacked.shape
        return stacked.view(batch, half * two, frames, bins)


class GTCRN(nn.Module):
    """[B, 2, T, F]: bands by a fixed matrix, grouped blocks, a GRU over time, a complex mask."""

    def __init__(self, bins: int, bands: int) -> None:
        super().__init__()
        self.register_buffer("erb", torch.rand(bins, bands) / bins)
        self.first = nn.Sequential(nn.Conv2d(2, 8, (1, 5), (1, 2), (0, 2)), nn.BatchNorm2d(8), nn.PReLU())
        self.blocks = nn.ModuleList(GTConv(8, d) for d in (1, 2))
        self.rnn, self.fc, self.ln = (
            nn.GRU(8 * bands // 2, 16, batch_first=True),
            nn.Linear(16, 8 * bands // 2),
            nn.LayerNorm(8 * bands // 2),
        )
        self.last = nn.ConvTranspose2d(8, 2, (1, 5), (1, 2), (0, 2), output_padding=(0, 1))

    def forward(self, spectrum: Tensor) -> Tensor:
        x = self.first(torch.matmul(spectrum, self.erb))
        skip = x
        for block in self.blocks:
            x = block(x)
        batch, channels, frames, bands = x.shape
        y = x.permute(0, 2, 1, 3).reshape(batch, frames, channels * bands)
        y = y + self.ln(self.fc(self.rnn(y)[0]))
        x = y.view(batch, frames, channels, bands).permute(0, 2, 1, 3) + skip
        mask = torch.tanh(self.last(x)) @ self.erb.t()
        real = spectrum[:, 0] * mask[:, 0] - spectrum[:, 1] * mask[:, 1]
        imaginary = spectrum[:, 0] * mask[:, 1] + spectrum[:, 1] * mask[:, 0]
        return torch.stack([real, imaginary], dim=1)


class GroupedLinear(nn.Module):
    """Groups of features with a matrix each."""

    def __init__(self, inputs: int, outputs: int, groups: int) -> None:
        super().__init__()
        self.groups, self.layers = (
            groups,
            nn.ModuleList(nn.Linear(inputs // groups, outputs // groups) for _ in range(groups)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([layer(part) for layer, part in zip(self.layers, x.chunk(self.groups, -1), strict=True)], -1)


class DeepFilterNet(nn.Module):
    """An encoder, gains of bands with skips, coefficients of a filter over the last frames, applied to the input."""

    def __init__(self, bins: int, order: int) -> None:
        super().__init__()
        self.order = order
        self.conv0 = nn.Sequential(nn.Conv2d(1, 8, (3, 3), padding=(0, 1), bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.conv1 = nn.Sequential(
            nn.Conv2d(8, 8, (1, 3), stride=(1, 2), padding=(0, 1), groups=8, bias=False),
            nn.Conv2d(8, 8, 1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
        )
        self.emb_in, self.emb_gru = GroupedLinear(4 * bins, 16, 4), nn.GRU(16, 16, batch_first=True)
        self.gain_out, self.coefs = GroupedLinear(16, 4 * bins, 4), nn.Linear(16, order * bins)
        self.up = nn.ConvTranspose2d(8, 1, (1, 3), stride=(1, 2), padding=(0, 1), output_padding=(0, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        batch, _, frames, bins = x.shape
        e = self.conv1(self.conv0(F.pad(x, (0, 0, 2, 0))))
        emb, _ = self.emb_gru(F.relu(self.emb_in(e.permute(0, 2, 1, 3).flatten(2))))
        d = self.gain_out(emb).view(batch, frames, 8, bins // 2).transpose(1, 2)
        gains = torch.sigmoid(self.up(d + e))
        coefs = torch.tanh(self.coefs(emb)).view(batch, frames, self.order, bins)
        past = F.pad(x[:, 0], (0, 0, self.order - 1, 0))
        taps = torch.stack([past[:, i : i + frames] for i in range(self.order)], dim=2)
        return gains.squeeze(1), (taps * coefs).sum(dim=2)


STRANGERS = (
    Stranger("RNNoise, gains and voice", lambda: RNNoise(16), (T, 16), Exports(35)),
    Stranger("NSNet2", lambda: NSNet2(16), (T, 16), Exports(40)),
    Stranger("NSNet2 in int16", lambda: NSNet2(16), (T, 16), Exports(60), precision="int16"),
    Stranger("DTLN, window 2", lambda: DTLN(16), (T, 16), Exports(20), Streaming(window=2)),
    Stranger("DTLN, window 1", lambda: DTLN(16), (T, 16), Exports(20)),
    Stranger("PercepNet, two outputs", lambda: PercepNet(16, False), (T, 16), Exports(40), slow=True),
    Stranger("PercepNet, a dict of outputs", lambda: PercepNet(16, True), (T, 16),
             Refused(ConversionError, "returned a dict with the keys", "Say which the chip is to give, Streaming(outputs=")),
    Stranger("PercepNet, gains of a dict", lambda: PercepNet(16, True), (T, 16), Exports(40), Streaming(outputs="gains"), slow=True),
    Stranger("FullSubNet, an LSTM for all bins", lambda: FullSubNet(8), (8, T),
             Refused(UnsupportedOperatorError, "reshape mixes the batch with another axis", "To stream it, keep")),
    Stranger("GTCRN, grouped and shuffled", lambda: GTCRN(16, 8), (2, T, 16), Exports(25), Streaming(time_axis=2), slow=True),
    Stranger("DeepFilterNet, gains and filter", lambda: DeepFilterNet(16, 3), (1, T, 16), Exports(18), Streaming(time_axis=2), slow=True),
)  # fmt: skip
