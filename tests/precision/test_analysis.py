from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from lightning_esp import Quantization, Streaming, calibrate, convert, quantize
from lightning_esp.errors import DataError
from lightning_esp.precision import Analysis, analyze, name_worst, rank_modules
from lightning_esp.quantization import Worker
from lightning_esp.simulation import QuantizedStreaming
from tests.models.built import Built


@pytest.fixture(scope="module")
def found(build: Callable[..., Built], worker: Worker) -> tuple[Built, Analysis]:
    built = build("tutorial")
    return built, analyze(built.model, built.quantized, built.recordings, worker=worker, max_windows=8)


def test_the_noise_of_the_last_layer_is_that_of_the_files(build: Callable[..., Built], worker: Worker) -> None:
    built = build("tutorial")
    analysis = analyze(built.model, built.quantized, built.recordings[:1], worker=worker, max_windows=100)
    recording = built.recordings[0]
    assert isinstance(recording, torch.Tensor)
    # The last window is filled up with zero frames; both sides see it whole.
    frames = -(-recording.shape[1] // built.model.window) * built.model.window
    whole = torch.nn.functional.pad(recording, (0, frames - recording.shape[1]))[None]
    true, integer = built.model.run(whole), QuantizedStreaming(built.quantized)(whole)
    expected = 10 * torch.log10(true.square().sum() / (true - integer).square().sum())
    assert analysis.layers[-1].total_db == pytest.approx(float(expected), abs=0.05)


def test_layers_come_in_order_and_noise_adds_up(found: tuple[Built, Analysis]) -> None:
    _, analysis = found
    assert analysis.layers[0].module.rpartition(".")[2] == "prev_conv"
    assert analysis.layers[0].own_db == analysis.layers[0].total_db  # nothing is before it
    assert sorted(analysis.worst, key=lambda layer: layer.name) == sorted(analysis.layers, key=lambda layer: layer.name)
    assert analysis.worst[0].own_db == min(layer.own_db for layer in analysis.layers if layer.own_db is not None)
    assert "Concat" not in {layer.type for layer in analysis.layers}


def test_caches_and_inputs_have_their_ranges(found: tuple[Built, Analysis]) -> None:
    built, analysis = found
    kinds = {tensor.name: tensor.kind for tensor in analysis.tensors}
    assert kinds["x"] == "input"
    assert {name for name, kind in kinds.items() if kind == "cache"} == {c.name for c in built.model.spec.caches}
    exponents = {tensor.name: tensor.exponent for tensor in analysis.tensors}
    for stage in built.quantized.stages:
        assert all(exponents[tensor.name] == tensor.exponent for tensor in (*stage.inputs, *stage.outputs))


def test_louder_recordings_are_seen_to_clip(build: Callable[..., Built], worker: Worker) -> None:
    built = build("tutorial")
    loud = [8 * recording for recording in built.recordings]  # type: ignore[operator]
    quiet, clipped = (
        next(t for t in analyze(built.model, built.quantized, r, worker=worker, max_windows=4).tensors if t.name == "x")
        for r in (built.recordings, loud)
    )
    assert clipped.clipped > 0.1 > quiet.clipped
    assert clipped.used == pytest.approx(8 * quiet.used, rel=1e-3)


def test_the_excerpt_holds_float_beside_integers(found: tuple[Built, Analysis]) -> None:
    built, analysis = found
    assert analysis.snippet is not None
    true, integer = np.array(analysis.snippet.float_values), np.array(analysis.snippet.integer_values)
    assert true.shape == integer.shape
    assert analysis.snippet.starts[0] == 0
    first = built.model.run(built.recordings[0][None])  # type: ignore[index, call-overload]
    np.testing.assert_allclose(true[:, : first.shape[2]], first[0], atol=1e-4)
    assert 0 < np.square(true - integer).mean() < 0.01 * np.square(true).mean()


class Spoiled(nn.Module):
    """Three convs, of which the second has one weight so large that the others round to zero."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        spoiled = nn.Conv1d(8, 8, 1)
        self.first, self.third = nn.Conv1d(8, 8, 1), nn.Conv1d(8, 8, 1)
        self.second = nn.Sequential(spoiled, nn.ReLU())
        with torch.no_grad():
            spoiled.weight[0, 0, 0] = 60.0
            self.third.weight[:, 0] = 0.02

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.third(self.second(self.first(x)))


def test_the_spoiled_layer_is_named_and_int16_helps(worker: Worker) -> None:
    recordings = list(torch.randn(4, 8, 40, generator=torch.Generator().manual_seed(1)))
    model = convert(Spoiled(), recordings[0], Streaming(window=4))
    samples = calibrate(model, recordings)
    quantized = quantize(model, samples, worker=worker)
    effects = rank_modules(model, quantized, recordings, worker=worker)
    assert effects[0].module.startswith("second.")
    names = name_worst(effects)
    assert {name.partition(".")[0] for name in names} == {"second"}
    better = quantize(model, samples, Quantization(int16=("second",)), worker=worker)
    noisy, clean = (analyze(model, q, recordings, worker=worker).layers[-1].total_db for q in (quantized, better))
    assert noisy is not None
    assert clean is not None
    assert clean > noisy + 2


def test_a_recurrent_layer_is_compared_with_its_float_form(worker: Worker) -> None:
    torch.manual_seed(2)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(8, 8, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.gru(x)[0]

    recordings = list(torch.randn(3, 20, 8))
    model = convert(Net(), recordings[0], Streaming(window=2))
    quantized = quantize(model, calibrate(model, recordings), worker=worker)
    layer = next(x for x in analyze(model, quantized, recordings, worker=worker).layers if x.type == "GRU")
    assert layer.own_db is not None
    assert layer.total_db is not None
    assert 15 < layer.total_db <= layer.own_db + 0.5 < 60


def test_recordings_are_checked(build: Callable[..., Built], worker: Worker) -> None:
    built = build("tutorial")
    with pytest.raises(DataError):
        analyze(built.model, built.quantized, [torch.zeros(3, 9)], worker=worker)


def test_the_worst_are_named_in_the_report(build: Callable[..., Built], worker: Worker) -> None:
    built = build("tutorial")
    loud = [8 * recording for recording in built.recordings]  # type: ignore[operator]
    analysis = analyze(built.model, built.quantized, loud, worker=worker, max_windows=4)
    told = analysis.to_report()
    clipped = {tensor["name"]: tensor["clipped"] for tensor in told["tensors"]}
    assert clipped[told["worst_tensors"][0]] == max(clipped.values()) > 0
    assert set(told["worst_tensors"]) == set(clipped)
    assert told["worst_tensors"] != list(clipped)
    assert told["worst_layers"][0] == analysis.worst[0].name
