"""Contracts as people write them, which ESP-DL would abort on or compute wrongly as they stand, with every proof."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lightning_esp import Streaming
from lightning_esp.espdl import read_espdl
from lightning_esp.quantization import Worker
from tests.models.proved import prove


class Attention(nn.Module):
    """Attention over the last frames, whose keys and values are caches."""

    def __init__(self, size: int = 8, frames: int = 20) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(size, size) for _ in range(3))
        self.head, self.frames, self.size = nn.Linear(size, 3), frames, size

    def forward(self, x: Tensor) -> Tensor:
        past = torch.zeros(x.shape[0], self.frames - 1, self.size, dtype=x.dtype)
        return self.streaming_forward(x, past, past)[0]

    def streaming_forward(self, x: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        keys, values = torch.cat([keys, self.key(x)], 1), torch.cat([values, self.value(x)], 1)
        query, frames, heard = self.query(x), x.shape[1], []
        for t in range(frames):
            past = slice(t, t + self.frames)
            weight = torch.softmax(query[:, t : t + 1] @ keys[:, past].transpose(1, 2) / math.sqrt(self.size), -1)
            heard.append(weight @ values[:, past])
        return self.head(torch.cat(heard, 1)), keys[:, frames:], values[:, frames:]

    def streaming_caches(self) -> dict[str, tuple[int, int]]:
        return {"keys": (self.frames - 1, self.size), "values": (self.frames - 1, self.size)}


class Stacked(nn.Module):
    """A cell stepped over the frames of the window; its outputs are stacked."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.Linear(6, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.streaming_forward(x, torch.zeros(x.shape[0], 6, dtype=x.dtype))[0]

    def streaming_forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        heard = []
        for t in range(x.shape[2]):
            h = torch.tanh(self.cell(x[:, :, t]) + 0.5 * h)
            heard.append(self.head(h))
        return torch.stack(heard, 2), h

    def streaming_caches(self) -> dict[str, tuple[int]]:
        return {"h": (6,)}


class Folded(nn.Module):
    """A mean over channels and a part of the bins."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv(x)
        return h.view(h.shape[0], h.shape[1], h.shape[2], 4, h.shape[3] // 4).mean((1, 3))


def recordings(*shape: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, generator=generator) for _ in range(3)]


def operators(files: list[bytes]) -> list[tuple[str, int]]:
    return [(operator.type, len(operator.inputs)) for data in files for operator in read_espdl(data).operators]


def test_attention_over_cached_frames(worker: Worker) -> None:
    quantized = prove(Attention(), recordings(40, 8), worker, Streaming(time_axis=1))
    products = [o for stage in quantized.stages for o in read_espdl(stage.data).operators if o.type == "MatMul"]
    assert products
    assert {product.attributes["input1_layout"] for product in products} == {"packed"}


def test_stacked_frames_at_window_one(worker: Worker) -> None:
    quantized = prove(Stacked(), recordings(6, 40), worker, Streaming(time_axis=2))
    assert all(count > 1 for kind, count in operators([s.data for s in quantized.stages]) if kind == "Concat")


def test_a_mean_over_five_turns_of_axes(worker: Worker) -> None:
    quantized = prove(Folded(), recordings(2, 40, 8), worker, Streaming(time_axis=2))
    assert operators([stage.data for stage in quantized.stages]).count(("ReduceMean", 2)) == 2
