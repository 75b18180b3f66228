"""1-D time-channel separable networks of the NeMo kind: QuartzNet, MatchboxNet, MarbleNet, Citrinet."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_esp import Streaming
from lightning_esp.errors import UnsupportedOperatorError
from tests.strangers.entry import Exports, Refused, Stranger, T


def separable(inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1) -> list[nn.Module]:
    """Layers as the toolkit lists them: padding, depthwise, pointwise, norm."""
    return [
        nn.ConstantPad1d(((kernel - 1) * dilation, 0), 0.0),
        nn.Conv1d(inputs, inputs, kernel, stride, dilation=dilation, groups=inputs, bias=False),
        nn.Conv1d(inputs, outputs, 1, bias=False),
        nn.BatchNorm1d(outputs, eps=1e-3, momentum=0.1),
    ]


class SqueezeExcite(nn.Module):
    """Context of the last frames, or of the whole recording."""

    def __init__(self, channels: int, context: int) -> None:
        super().__init__()
        self.context = context
        self.fc = nn.Sequential(nn.Linear(channels, 4, bias=False), nn.SiLU(), nn.Linear(4, channels, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        if self.context < 0:
            y = F.adaptive_avg_pool1d(x, 1)
        else:
            y = F.avg_pool1d(F.pad(x, (self.context - 1, 0)), self.context, stride=1)
        return x * self.fc(y.transpose(1, -1)).transpose(1, -1).sigmoid()


class JasperBlock(nn.Module):
    """Repeated separable convolutions with a residual that has its own norm."""

    def __init__(self, inputs: int, outputs: int, kernel: int, repeat: int, *, stride: int = 1, dilation: int = 1,
                 residual: bool = True, se: int | None = None) -> None:  # fmt: skip
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(repeat):
            layers += separable(inputs if i == 0 else outputs, outputs, kernel, stride if i == 0 else 1, dilation)
            if i < repeat - 1:
                layers += [nn.ReLU(), nn.Dropout(0.1)]
        self.mconv = nn.ModuleList(layers)
        self.se = SqueezeExcite(outputs, se) if se is not None else None
        self.res = (
            nn.Sequential(nn.Conv1d(inputs, outputs, 1, bias=False), nn.BatchNorm1d(outputs)) if residual else None
        )
        self.mout = nn.Sequential(nn.ReLU(inplace=True), nn.Dropout(0.1))

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for layer in self.mconv:
            y = layer(y)
        if self.se is not None:
            y = self.se(y)
        if self.res is not None:
            y += self.res(x)
        return self.mout(y)


class Decoder(nn.Module):
    """Class scores per frame, logarithms of probabilities or not, or of the mean over time."""

    def __init__(self, channels: int, classes: int, kind: str) -> None:
        super().__init__()
        self.pool, self.kind = nn.AdaptiveAvgPool1d(1) if kind == "pooled" else None, kind
        self.layers = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        if self.pool is None:
            x = self.layers(x.transpose(1, 2))
            return F.log_softmax(x, dim=-1) if self.kind == "log" else x
        return self.layers(self.pool(x).view(x.shape[0], -1))


class MaskedQuartz(nn.Module):
    """Frames of padding, which hold nothing, are set to zero before every block."""

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([JasperBlock(bins, 16, 5, 2), JasperBlock(16, 16, 5, 2)])

    def forward(self, audio_signal: Tensor) -> Tensor:
        x, mask = audio_signal, (audio_signal == 0).all(dim=1, keepdim=True)
        for block in self.blocks:
            x = block(x.masked_fill(mask, 0.0))
        return x


def quartznet(strided: bool) -> nn.Module:
    return nn.Sequential(
        JasperBlock(16, 16, 5, 1, stride=2 if strided else 1, residual=False),
        JasperBlock(16, 24, 5, 3), JasperBlock(24, 24, 7, 1, dilation=2, residual=False), nn.Conv1d(24, 8, 1),
    )  # fmt: skip


def matchbox(kind: str) -> nn.Module:
    return nn.Sequential(
        JasperBlock(16, 24, 11, 1, residual=False), JasperBlock(24, 12, 13, 1), JasperBlock(12, 12, 15, 1),
        JasperBlock(12, 24, 7, 1, dilation=2, residual=False), JasperBlock(24, 24, 1, 1, residual=False),
        Decoder(24, 5, kind),
    )  # fmt: skip


def marblenet() -> nn.Module:
    return nn.Sequential(
        JasperBlock(16, 24, 11, 1, residual=False), JasperBlock(24, 12, 13, 2), JasperBlock(12, 12, 15, 2),
        Decoder(12, 2, "logits"),
    )  # fmt: skip


def citrinet(context: int) -> nn.Module:
    return nn.Sequential(
        JasperBlock(16, 16, 5, 2, se=context), JasperBlock(16, 16, 7, 2, stride=2, residual=False, se=context)
    )


STRANGERS = (
    Stranger("QuartzNet, causal", lambda: quartznet(False), (16, T), Exports(35)),
    Stranger("QuartzNet, first layer strided, four stages", lambda: quartznet(True), (16, T), Exports(35),
             Streaming(stages=4), frames=2),
    Stranger("QuartzNet, padding masked", lambda: MaskedQuartz(16), (16, T),
             Refused(UnsupportedOperatorError, "__eq__ has no streaming rule", "streaming_forward")),
    Stranger("MatchboxNet, logits per frame", lambda: matchbox("logits"), (16, T), Exports(35)),
    Stranger("MatchboxNet, log-softmax per frame", lambda: matchbox("log"), (16, T),
             Exports(25)),
    Stranger("MatchboxNet, mean over time", lambda: matchbox("pooled"), (16, T),
             Exports(16), clip=True, slow=True),
    Stranger("MarbleNet", marblenet, (16, T), Exports(35), slow=True),
    Stranger("Citrinet, SE of 8 frames", lambda: citrinet(8), (16, T), Exports(35), frames=2, slow=True),
    Stranger("Citrinet, SE of the recording", lambda: citrinet(-1), (16, T),
             Refused(UnsupportedOperatorError, "all of time", "average the last N frames"), frames=2),
)  # fmt: skip
