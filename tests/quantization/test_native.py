"""Native caches: whatever the model does with its past frames, the file gives what the explicit graph gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_esp import QuantizedModel, Streaming, calibrate, convert, quantize
from lightning_esp.errors import QuantizationError
from lightning_esp.espdl import read_espdl
from lightning_esp.quantization import Worker
from lightning_esp.verification.verify import prove_integers
from tests.models.tutorial_tcn import shake


def left(x: Tensor, frames: int, value: float = 0.0) -> Tensor:
    return F.pad(x, (frames, 0), value=value)


class Residual(nn.Module):
    """A skip connection around a conv that has a cache."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(8, 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x + F.relu(self.conv(left(x, 2)))


class TwoWindows(nn.Module):
    """One variable read by two convs that need different pasts, and by an addition that needs none."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv1d(8, 8, 1)
        self.near = nn.Conv1d(8, 8, 2)
        self.far = nn.Conv1d(8, 8, 3, dilation=3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return x + self.near(left(x, 1)) + torch.sigmoid(self.far(left(x, 6)))


class Strided(nn.Module):
    """A strided conv with a kernel longer than its stride, and a dilated one at the slower pace."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv1d(8, 12, 5, stride=2)
        self.conv = nn.Conv1d(12, 8, 3, dilation=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(left(F.relu(self.down(left(x, 4))), 4))


class Delayed(nn.Module):
    """A conv without padding: its skip branch is delayed by a cache of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(8, 8, 4)
        self.skip = nn.Conv1d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) + self.skip(x)[:, :, 1:-2]


class Pools(nn.Module):
    """A moving average and a moving maximum."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv(x))
        return F.avg_pool1d(left(x, 3), 4, stride=1) + F.max_pool1d(left(x, 2), 3, stride=1)


class Images(nn.Module):
    """2-D convs over `[batch, channels, time, bins]`."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, (3, 3), padding=(0, 1))
        self.second = nn.Conv2d(4, 6, (2, 3), padding=(0, 1), stride=(1, 2), dilation=(2, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(F.pad(x, (0, 0, 2, 0))))
        return self.second(F.pad(x, (0, 0, 2, 0)))


class Mixed(nn.Module):
    """A conv with past frames in front of a GRU, whose state stays an input."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(8, 8, 3)
        self.rnn = nn.GRU(8, 8, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(self.conv(left(x, 2)).transpose(1, 2))[0]


class PaddedWithOnes(nn.Module):
    """The frames before the first one are not zero."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(8, 8, 3)
        self.second = nn.Conv1d(8, 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(left(F.relu(self.first(left(x, 2))), 2, 1.0))


# The module, the shape of a recording of n frames, the window, and the native and explicit caches of "auto".
CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[int], tuple[int, ...]], int, int, int]] = {
    "residual": (Residual, lambda n: (8, n), 1, 1, 0),
    "two_windows": (TwoWindows, lambda n: (8, n), 3, 2, 0),
    "strided": (Strided, lambda n: (8, n), 4, 2, 0),
    "delayed": (Delayed, lambda n: (8, n), 2, 2, 0),
    "pools": (Pools, lambda n: (8, n), 2, 2, 0),
    "images": (Images, lambda n: (1, n, 10), 3, 2, 0),
    "mixed": (Mixed, lambda n: (8, n), 2, 1, 1),
    "padded_with_ones": (PaddedWithOnes, lambda n: (8, n), 1, 1, 1),
}


def build(name: str, caches: str, worker: Worker) -> tuple[QuantizedModel, list[Tensor]]:
    make, shape, window, _, _ = CASES[name]
    torch.manual_seed(0)
    module, generator = shake(make()), torch.Generator().manual_seed(1)
    recordings = [torch.randn(shape(n), generator=generator) for n in (30, 41, 12)]
    axis = 2
    model = convert(module, recordings[0], Streaming(window=window, time_axis=axis, caches=caches))  # type: ignore[arg-type]
    return quantize(model, calibrate(model, recordings), worker=worker), recordings


def types(quantized: QuantizedModel) -> Counter[str]:
    return Counter(op.type for stage in quantized.stages for op in read_espdl(stage.data).operators)


@pytest.mark.parametrize("name", CASES)
def test_auto_lowers_every_cache_that_can_be(worker: Worker, name: str) -> None:
    quantized, recordings = build(name, "auto", worker)
    (stage,) = quantized.stages
    found = types(quantized)
    native, explicit = CASES[name][3:]
    assert (len(stage.native_caches), len(stage.caches)) == (native, explicit)
    assert found["StreamingCache"] == native
    # The past of a conv costs a Slice where it stays explicit, and a delay takes the first frames of what it joined.
    assert found["Slice"] <= explicit + (name == "delayed")
    # The file, interpreted, against esp-ppq's executor on the explicit graph: 0 values may differ.
    proofs = {proof.name: proof for proof in prove_integers(quantized, recordings, worker).proofs}
    (parity,) = (proof for name, proof in proofs.items() if name.startswith("files window by window"))
    assert parity.figure == 0


@pytest.mark.parametrize("name", [name for name in CASES if name not in ("mixed", "padded_with_ones")])
def test_no_transpose_in_either_form(worker: Worker, name: str) -> None:
    for caches in ("native", "explicit"):
        quantized, recordings = build(name, caches, worker)
        assert "Transpose" not in types(quantized), caches
        prove_integers(quantized, recordings, worker)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("mixed", "is not read by exactly one Concat"), ("padded_with_ones", "it starts at 1, not at zero")],
)
def test_native_refuses_what_cannot_be_lowered(worker: Worker, name: str, reason: str) -> None:
    with pytest.raises(QuantizationError, match=rf"caches='native'\): cache .* cannot .* {reason}"):
        build(name, "native", worker)


def test_a_start_value_that_is_not_zero_would_be_lost(worker: Worker) -> None:
    # What the obstacle above prevents: the same file without the start value differs from the graph.
    quantized, recordings = build("padded_with_ones", "auto", worker)
    (stage,) = quantized.stages
    (cache,) = stage.caches
    assert cache.initial != 0
    broken = replace(quantized, stages=(replace(stage, caches=(replace(cache, initial=0),)),))
    with pytest.raises(Exception, match="files window by window"):
        prove_integers(broken, recordings, worker)
