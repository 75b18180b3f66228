"""Human activity and brain signals: DeepConvLSTM, TinyHAR, EEGNet, ShallowConvNet, transformers, autoencoders."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_esp import Streaming
from lightning_esp.errors import UnsupportedOperatorError
from tests.strangers.entry import Exports, Refused, Stranger, T


class DeepConvLSTM(nn.Module):
    """[B, 1, T, C]: convolutions along time for each sensor, two LSTMs; a score per frame, or of the last one."""

    def __init__(self, sensors: int, last: bool) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(i, 8, (5, 1)) for i in (1, 8, 8))
        self.lstm, self.drop = nn.LSTM(8 * sensors, 16, num_layers=2, batch_first=True), nn.Dropout(0.5)
        self.fc, self.last = nn.Linear(16, 5), last

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = F.relu(conv(F.pad(x, (0, 0, 4, 0))))
        x = x.permute(0, 2, 1, 3)
        x = x.reshape(x.shape[0], x.shape[1], -1)
        y, _ = self.lstm(self.drop(x))
        return self.fc(y[:, -1, :] if self.last else y)


class TinyHAR(nn.Module):
    """Convolutions per sensor, attention between the sensors of a frame, an LSTM, weights over time."""

    def __init__(self, sensors: int) -> None:
        super().__init__()
        self.conv, self.attention = (
            nn.Conv2d(1, 8, (5, 1), stride=(2, 1)),
            nn.MultiheadAttention(8, 2, batch_first=True),
        )
        self.fuse, self.lstm = nn.Linear(8 * sensors, 12), nn.LSTM(12, 12, batch_first=True)
        self.weight, self.fc = nn.Linear(12, 1), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv(F.pad(x, (0, 0, 3, 0)))).permute(0, 2, 3, 1)
        batch, frames, sensors, width = x.shape
        y = x.reshape(batch * frames, sensors, width)
        y = self.attention(y, y, y, need_weights=False)[0].reshape(batch, frames, sensors * width)
        y, _ = self.lstm(F.relu(self.fuse(y)))
        return self.fc((y * torch.softmax(self.weight(y), dim=1)).sum(dim=1))


class EEGNet(nn.Module):
    """[B, 1, electrodes, T]: temporal, spatial and separable convolutions, pooling, one score per 8 samples."""

    def __init__(self, electrodes: int, pooled: bool) -> None:
        super().__init__()
        self.temporal, self.bn1 = nn.Conv2d(1, 4, (1, 16), bias=False), nn.BatchNorm2d(4)
        self.spatial, self.bn2 = nn.Conv2d(4, 8, (electrodes, 1), groups=4, bias=False), nn.BatchNorm2d(8)
        self.depth, self.point = nn.Conv2d(8, 8, (1, 8), groups=8, bias=False), nn.Conv2d(8, 8, 1, bias=False)
        self.bn3, self.pool1, self.pool2 = nn.BatchNorm2d(8), nn.AvgPool2d((1, 4)), nn.AvgPool2d((1, 2))
        self.out, self.pooled = nn.Conv2d(8, 3, 1), pooled

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.temporal(F.pad(x, (15, 0, 0, 0))))
        x = self.pool1(F.elu(self.bn2(self.spatial(x))))
        x = self.point(self.depth(F.pad(x, (7, 0, 0, 0))))
        x = self.pool2(F.elu(self.bn3(x)))
        if self.pooled:
            x = x.mean(-1, keepdim=True)
        return self.out(x).squeeze(2)


class ShallowConvNet(nn.Module):
    """[B, 1, electrodes, T]: squared activations, mean pooling and a logarithm."""

    def __init__(self, electrodes: int, log: bool) -> None:
        super().__init__()
        self.conv_time, self.conv_spat = nn.Conv2d(1, 8, (1, 9)), nn.Conv2d(8, 8, (electrodes, 1), bias=False)
        self.bn, self.pool = nn.BatchNorm2d(8), nn.AvgPool2d((1, 16), stride=(1, 4))
        self.classifier, self.log = nn.Conv2d(8, 3, 1), log

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv_spat(self.conv_time(F.pad(x, (8, 0)))))
        x = self.pool(F.pad(x * x, (12, 0)))
        x = torch.log(torch.clamp(x, min=0.05)) if self.log else torch.tanh(x)
        return self.classifier(x)[:, :, 0]


class TransformerHAR(nn.Module):
    """[B, T, C] with a transformer encoder."""

    def __init__(self, sensors: int, causal: bool) -> None:
        super().__init__()
        self.embed, self.causal = nn.Linear(sensors, 8), causal
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1]) if self.causal else None
        return self.head(self.encoder(x, mask=mask))


class ConvHAR(nn.Module):
    """[B, T, C]: batch norm on the raw sensors, convolutions, a score for every fourth frame."""

    def __init__(self, sensors: int) -> None:
        super().__init__()
        self.norm, self.conv1, self.conv2 = nn.BatchNorm1d(sensors), nn.Conv1d(sensors, 12, 5), nn.Conv1d(12, 16, 5)
        self.pool, self.fc = (
            nn.MaxPool1d(2),
            nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.BatchNorm1d(12), nn.Conv1d(12, 5, 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x.permute(0, 2, 1))
        x = self.pool(F.relu(self.conv1(F.pad(x, (4, 0)))))
        x = self.pool(F.relu(self.conv2(F.pad(x, (4, 0)))))
        x = self.fc[1](self.fc[0](x.permute(0, 2, 1)))
        return self.fc[3](self.fc[2](x.permute(0, 2, 1)))


class Anomaly(nn.Module):
    """A recurrent autoencoder; the reconstruction, its error, and the code."""

    def __init__(self, sensors: int) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.GRU(sensors, 6, batch_first=True), nn.GRU(6, 12, batch_first=True)
        self.out = nn.Linear(12, sensors)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        code, _ = self.encoder(x)
        y = self.out(self.decoder(code)[0])
        return y, (y - x).pow(2).mean(dim=-1), code


class VibrationNet(nn.Module):
    """[B, C, T]: a wide strided first layer, batch norm before each activation, ending in two heads."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.wide = nn.Sequential(
            nn.ConstantPad1d((24, 0), 0.0), nn.Conv1d(channels, 12, 32, stride=8), nn.BatchNorm1d(12), nn.ReLU()
        )
        self.body = nn.Sequential(
            nn.ConstantPad1d((2, 0), 0.0), nn.Conv1d(12, 12, 3), nn.BatchNorm1d(12), nn.ReLU(), nn.MaxPool1d(2, 2)
        )
        self.state, self.load = nn.Conv1d(12, 4, 1), nn.Conv1d(12, 1, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.body(self.wide(x))
        return self.state(x), self.load(x).squeeze(1)


class Averaged(nn.Module):
    """The mean of scores per frame, [B, T, classes]."""

    def __init__(self, frames: nn.Module) -> None:
        super().__init__()
        self.frames = frames

    def forward(self, x: Tensor) -> Tensor:
        return self.frames(x).mean(dim=1)


STRANGERS = (
    Stranger("DeepConvLSTM, per frame", lambda: DeepConvLSTM(6, False), (1, T, 6), Exports(40), Streaming(time_axis=2)),
    Stranger("DeepConvLSTM, last frame", lambda: DeepConvLSTM(6, True), (1, T, 6),
             Exports(38), Streaming(time_axis=2), clip=True),
    Stranger("TinyHAR", lambda: TinyHAR(6), (1, T, 6),
             Exports(25), Streaming(time_axis=2), frames=2, clip=True, slow=True),
    Stranger("EEGNet, per 8 samples", lambda: EEGNet(4, False), (1, 4, T), Exports(35), Streaming(time_axis=3), frames=8),
    Stranger("EEGNet, pooled", lambda: EEGNet(4, True), (1, 4, T),
             Exports(14), Streaming(time_axis=3), frames=8, clip=True),
    Stranger("ShallowConvNet, logarithm", lambda: ShallowConvNet(4, True), (1, 4, T), Exports(20), Streaming(time_axis=3), frames=4),
    Stranger("ShallowConvNet, tanh", lambda: ShallowConvNet(4, False), (1, 4, T), Exports(30), Streaming(time_axis=3), frames=4),
    Stranger("Transformer HAR", lambda: TransformerHAR(6, False), (T, 6), Refused(UnsupportedOperatorError, "attends over all of time", "use nn.GRU or causal convolutions")),
    Stranger("Transformer HAR, causal mask", lambda: TransformerHAR(6, True), (T, 6),
             Refused(UnsupportedOperatorError, "attends over all of time", "use nn.GRU or causal convolutions")),
    Stranger("Transformer HAR, mean over the clip", lambda: Averaged(TransformerHAR(6, False)), (T, 6), Exports(25), clip=True, slow=True),
    Stranger("Transformer HAR, causal mask, mean over the clip", lambda: Averaged(TransformerHAR(6, True)), (T, 6), Exports(15), clip=True),
    Stranger("Conv HAR, batch norm on raw sensors", lambda: ConvHAR(6), (T, 6), Exports(30), frames=4),
    Stranger("GRU autoencoder, three outputs", lambda: Anomaly(6), (T, 6), Exports(20)),
    Stranger("Vibration WDCNN, two heads", lambda: VibrationNet(2), (2, T), Exports(30), frames=16),
)  # fmt: skip
