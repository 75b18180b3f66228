"""Hours of frames through the integers: a piece that comes again at the end gives the outputs of its first time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lightning_esp import Quantization, Simulation, Streaming, calibrate, convert, quantize
from lightning_esp.quantization import Worker

FEATURES = 8
PIECE = 600

# Frames after which nothing is left of what came before a piece; measured: less than 50.
FORGOTTEN = 100


class Recurrent(nn.Module):
    def __init__(self, cell: type[nn.GRU] | type[nn.LSTM]) -> None:
        super().__init__()
        self.cell = cell(FEATURES, 12, batch_first=True)
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x)[0])


class Convolutions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(FEATURES, 12, 3), nn.Conv1d(12, 3, 5, dilation=4)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.first(nn.functional.pad(x.transpose(1, 2), (2, 0))))
        return self.second(nn.functional.pad(hidden, (16, 0))).transpose(1, 2)


MODELS = {
    "gru int8": lambda: Recurrent(nn.GRU),
    "lstm int8": lambda: Recurrent(nn.LSTM),
    "gru int16": lambda: Recurrent(nn.GRU),
    "convolutions int8": Convolutions,
}


def make_pieces(count: int, frames: int, seed: int) -> Tensor:
    """Oscillations and noise, another mixture in each piece: [count * frames, features]."""
    random = torch.Generator().manual_seed(seed)
    time = torch.arange(frames)[:, None] / 20
    waves = torch.sin(time * 3 * torch.rand(count, 1, FEATURES, generator=random))
    return (waves + 0.4 * torch.randn(count, frames, FEATURES, generator=random)).flatten(0, 1)


def listen(kind: str, period: float, seconds: float, worker: Worker) -> None:
    torch.manual_seed(0)
    module = MODELS[kind]().eval()
    recordings = list(make_pieces(6, 200, 0).split(200))
    model = convert(module, recordings[0], Streaming(window=4, frame_period=period))
    precision = "int16" if kind.endswith("int16") else "int8"
    quantized = quantize(model, calibrate(model, recordings), Quantization(precision=precision), worker=worker)
    piece = make_pieces(1, PIECE, 5)
    between = make_pieces(round(seconds / period / PIECE) - 2, PIECE, 9)
    stream = torch.cat([piece, between, piece])
    assert len(stream) * period == pytest.approx(seconds)
    outputs = Simulation(quantized).run(stream)
    assert isinstance(outputs, Tensor)
    first, last = outputs[:PIECE], outputs[-PIECE:]
    assert torch.equal(first[FORGOTTEN:], last[FORGOTTEN:])
    assert len(first[FORGOTTEN:].unique()) > 20, "the outputs say something"
    # Nor does the stream leave the float network: its noise at the end is that of the start.
    with torch.no_grad():
        floating = module(stream[None])[0]
    noise = (outputs - floating).square().unflatten(0, (-1, PIECE)).mean((1, 2))
    assert float(noise[-1]) < 2 * float(noise[0])
    assert float(noise.max()) < 0.05 * float(floating.square().mean())


@pytest.mark.parametrize("kind", MODELS)
def test_six_minutes_leave_no_trace(kind: str, worker: Worker) -> None:
    listen(kind, period=0.1, seconds=360, worker=worker)


@pytest.mark.full
@pytest.mark.parametrize("kind", MODELS)
def test_ten_hours_leave_no_trace(kind: str, worker: Worker) -> None:
    listen(kind, period=0.5, seconds=36_000, worker=worker)
