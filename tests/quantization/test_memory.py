"""Files whose tensors ESP-DL would overwrite are written so that it does not, and with the values of the graph."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_esp import Quantization, QuantizedModel, Streaming, calibrate, convert, quantize
from lightning_esp.conversion.recording_checks import pad_recordings
from lightning_esp.espdl import EspdlInterpreter, read_espdl
from lightning_esp.quantization import Worker
from lightning_esp.simulation import IntegerPipeline, integer_windows, interpret
from lightning_esp.verification.verify import prove_integers
from tests.models.flat import FlatStream
from tests.models.tutorial_tcn import shake


class Mask(nn.Module):
    """A mask over [batch, time, features], estimated on a view of the input."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.conv = nn.LayerNorm(16), nn.Conv2d(1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.conv(self.norm(x.unsqueeze(1)))).squeeze(1)


class Means(nn.Module):
    """What stands in a window beside the means of its bands."""

    def forward(self, x: Tensor) -> Tensor:
        batch, time, _ = x.shape
        return torch.cat([x, x.reshape(batch, time, 4, 8).mean(3)], 2)


class Heads(nn.Module):
    """An output that is a view of what two more outputs are made from."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.head, self.tail = nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        batch, time, _ = x.shape
        y = F.relu(self.linear(x))
        return y.reshape(batch, time, 4, 4), self.tail(torch.tanh(self.head(y)))


class MaskOfImage(nn.Module):
    """A mask over [batch, channels, time, bins] behind a convolution with a past."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 2, (3, 1)), nn.LayerNorm(8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(F.pad(x, (0, 0, 2, 0))).permute(0, 2, 1, 3)
        mask = torch.sigmoid(self.norm(y.unsqueeze(2))).squeeze(2)
        return (y * mask).permute(0, 2, 1, 3)


class Recurrent(nn.Module):
    """A mask from a GRU, and the features that it was made from as another output."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.linear = nn.GRU(8, 8, batch_first=True), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = torch.tanh(x.unsqueeze(2)).squeeze(2)
        mask = torch.sigmoid(self.linear(self.gru(y)[0]).unsqueeze(1))
        return mask.squeeze(1) * x, y.unsqueeze(1)


class Attention(nn.Module):
    """Squeeze and excite over the features of each frame, with a past, and a residual around it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.down, self.up = nn.Conv1d(16, 16, 3), nn.Linear(4, 4), nn.Linear(4, 16)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(F.pad(x.transpose(1, 2), (2, 0))).transpose(1, 2)
        batch, time, _ = y.shape
        squeezed = F.relu(self.down(y.reshape(batch, time, 4, 4).mean(3)))
        return x + y * torch.sigmoid(self.up(squeezed))


class Views(nn.Module):
    """Outputs that are views of each other, and of what others are made from."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y = torch.tanh(x)
        z = y * F.relu(y)
        first, second = z.unsqueeze(1), z.unsqueeze(1)
        both = first + first
        bent = torch.tanh(second)
        return second, bent, torch.sigmoid(y), both.squeeze(1), second + bent


# The module, the shape of a recording, and its time axis in a batch.
NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "mask": (Mask, (-1, 16), 1),
    "means": (Means, (-1, 32), 1),
    "heads": (Heads, (-1, 8), 1),
    "mask of an image": (MaskOfImage, (2, -1, 8), 2),
    "recurrent": (Recurrent, (-1, 8), 1),
    "attention": (Attention, (-1, 16), 1),
    "views": (Views, (-1, 16), 1),
}
FORMS: dict[str, dict[str, object]] = {
    "window of 1": {},
    "window of 3, explicit": {"window": 3, "caches": "explicit"},
    "two stages": {"window": 2, "stages": 2},
}


def build(name: str, form: str, precision: str, worker: Worker) -> tuple[QuantizedModel, list[Tensor]]:
    make, frame, axis = NETS[name]
    torch.manual_seed(0)
    module = shake(make())
    generator = torch.Generator().manual_seed(1)
    recordings = [torch.randn([t if n < 0 else n for n in frame], generator=generator) for t in (20, 14)]
    model = convert(module, recordings[0], Streaming(time_axis=axis, **FORMS[form]))  # type: ignore[arg-type]
    options = Quantization(precision=precision)  # type: ignore[arg-type]
    return quantize(model, calibrate(model, recordings), options, worker=worker), recordings


BUILDS = [
    *((name, "window of 1", "int8") for name in NETS),
    *((name, form, "int8") for name in ("mask", "heads", "mask of an image") for form in list(FORMS)[1:]),
    *((name, "window of 1", "int16") for name in ("mask", "heads")),
]


@pytest.mark.parametrize(("name", "form", "precision"), BUILDS)
def test_planned_memory_gives_the_values_of_memory_that_nothing_shares(
    worker: Worker, name: str, form: str, precision: str
) -> None:
    quantized, recordings = build(name, form, precision, worker)
    # Executor and interpreter agree with each other, and neither shares memory.
    prove_integers(quantized, recordings, worker)
    batch, _ = pad_recordings(quantized.spec, recordings[:1])
    windows = integer_windows(quantized, batch)
    apart = interpret(quantized)
    files = [EspdlInterpreter(read_espdl(stage.data), quantized.target) for stage in quantized.stages]
    flat = IntegerPipeline(quantized.stages, [FlatStream(file) for file in files])
    for expected, found in zip(apart.run(windows), flat.run(windows), strict=True):
        assert all(np.array_equal(expected[key], found[key]) for key in expected)


def test_the_quantized_graph_of_a_mended_file_has_no_view_more(worker: Worker) -> None:
    quantized, _ = build("mask", "window of 1", "int8", worker)
    file = read_espdl(quantized.stages[0].data)
    views = [operator for operator in file.operators if operator.name.endswith(".view")]
    assert [(view.type, view.attributes["allowzero"], view.attributes["quant_type"]) for view in views] == [
        ("Reshape", 0, "S8")
    ]
    assert file.tensors[views[0].outputs[0]].exponent == file.tensors["x"].exponent
    assert b".view" not in quantized.graph
