"""Proof 4, the accumulators: what the weights settle, what has to be followed, and what stays unproved."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lightning_esp import QuantizedModel, Streaming, calibrate, convert, quantize
from lightning_esp.errors import ProofError
from lightning_esp.quantization import Worker
from lightning_esp.simulation import interpret
from lightning_esp.verification.accumulators import accumulators, bound_layers
from lightning_esp.verification.verify import prove_integers
from tests.models.built import Built

Build = Callable[..., Built]


class Wide(nn.Module):
    """Many inputs and positive weights: what the recordings hold decides whether the sum leaves 20 bits."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv1d(128, 8, 1)
        nn.init.uniform_(self.layer.weight, 0.5, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)

    def streaming_forward(self, x: Tensor) -> Tensor:
        return self.forward(x)


def recording(level: float, frames: int = 40, seed: int = 0) -> Tensor:
    """Noise around zero, and a level that all channels share at the very end."""
    noise = torch.randn(128, frames, generator=torch.Generator().manual_seed(seed)).clamp(-3, 3)
    noise[:, -1] += level
    return noise


@pytest.fixture(scope="module")
def wide(worker: Worker) -> QuantizedModel:
    given = [recording(0.0), recording(3.0, seed=1)]
    model = convert(Wide().eval(), given[0], Streaming(window=2))
    return quantize(model, calibrate(model, given), worker=worker)


@pytest.mark.parametrize("precision", ["int8", "int16"])
def test_weights_settle_ordinary_models_for_every_input(build: Build, worker: Worker, precision: str) -> None:
    built = build("tutorial", precision)
    (proof,) = accumulators(built.quantized, built.recordings)
    assert proof.name == f"accumulators fit {20 if precision == 'int8' else 40} bits (ESP32-S3)"
    assert (proof.state, proof.doubt) == ("green", "")
    # Nothing was followed: other recordings change nothing.
    assert accumulators(built.quantized, [torch.full_like(built.recordings[0], 1e6)]) == (proof,)
    # A bound for all inputs is above what some recordings reach.
    assert 0 < proof.figure <= proof.limit


def test_other_chips_have_wide_registers(build: Build) -> None:
    built = build("tutorial", target="esp32p4")
    assert accumulators(built.quantized, built.recordings) == ()


def test_what_holds_on_the_recordings_alone_is_amber(wide: QuantizedModel, worker: Worker) -> None:
    given = [recording(0.0, 40), recording(0.0, 31, seed=2)]
    (proof,) = accumulators(wide, given)
    (layer,) = bound_layers(wide, interpret(wide))
    assert layer.bound > layer.limit >= proof.figure
    assert proof.state == "amber"
    assert proof.doubt == (
        "it holds on the 36 windows that were followed, not for every input: by its weights, operator "
        f"'stage_0: /stages.0/layer/Conv' may reach {layer.bound}"
    )
    verification = prove_integers(wide, given, worker)
    assert verification.notes == (f"{proof.name}: {proof.doubt}",)
    # Untrained weights are not judged by it.
    rehearsed = prove_integers(wide, given, worker, rehearsal=True)
    assert rehearsed.notes == ()
    assert [proof.name for proof in rehearsed.proofs] == [p.name for p in verification.proofs if p.name != proof.name]


def test_a_peak_behind_a_silent_start_is_found(wide: QuantizedModel, worker: Worker) -> None:
    silent = torch.cat([torch.zeros(128, 60), recording(8.0)], dim=1)
    with pytest.raises(ProofError, match=r"fit 20 bits .*: \d+, but at most 524287 .*Split"):
        prove_integers(wide, [recording(0.0), silent], worker)
    assert prove_integers(wide, [recording(0.0), silent], worker, rehearsal=True).proofs


def test_a_peak_in_the_last_of_many_recordings_is_found(wide: QuantizedModel) -> None:
    quiet = [recording(0.0, 4, seed) for seed in range(40)]
    assert [proof.passed for proof in accumulators(wide, quiet)] == [True]
    assert [proof.passed for proof in accumulators(wide, [*quiet, recording(8.0)])] == [False]


class Behind(nn.Module):
    """The same behind a ReLU, whose past a cache holds."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv1d(24, 4, 3)
        self.second = nn.Conv1d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.layer(nn.functional.pad(torch.relu(x), (2, 0))))


@pytest.mark.parametrize("caches", ["explicit", "native"])
def test_what_a_relu_leaves_is_not_negative_in_a_cache_either(worker: Worker, caches: str) -> None:
    given = [torch.randn(24, 30, generator=torch.Generator().manual_seed(1))]
    model = convert(Behind().eval(), given[0], Streaming(caches=caches))  # type: ignore[arg-type]
    quantized = quantize(model, calibrate(model, given), worker=worker)
    pipeline = interpret(quantized)
    found = {layer.name: layer.bound for layer in bound_layers(quantized, pipeline)}
    layer = next(item.node for item in pipeline.streams[0].instructions if item.node.operator.type == "Conv")  # type: ignore[attr-defined]
    weight, bias = layer.parameter(1).astype(int), layer.parameter(2).astype(int).reshape(-1)
    positive = weight.clip(min=0).sum(axis=(1, 2)) * 127 + bias.clip(min=0)
    negative = weight.clip(max=0).sum(axis=(1, 2)) * 127 + bias.clip(max=0)
    assert found["/stages.0/layer/Conv"] == max(positive.max(), -1 - negative.min())
