"""Recurrent layers: gates by ESP-DL's tables, the cell of an LSTM in int16, and integers over hundreds of windows."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightning_esp import Quantization, QuantizedModel, StreamingModel, calibrate, convert, quantize
from lightning_esp.espdl import read_espdl
from lightning_esp.espdl.kernels import activation
from lightning_esp.quantization import Worker
from lightning_esp.quantization.recurrent import TableMode
from lightning_esp.verification.verify import prove_integers
from tests.models.pieces import randomise

EXPONENT = -9


@pytest.mark.parametrize(("name", "end"), [("sigmoid", 3226), ("tanh", 1793)])
def test_the_tables_of_both_sides_are_the_same_to_the_bit(name: str, end: int) -> None:
    index = np.arange(-6000, 6001)
    magnitude = np.minimum(np.abs(index), end).astype(np.float32) * np.float32(2.0**EXPONENT)
    half = getattr(activation, name)(magnitude)
    mirrored = -half if name == "tanh" else np.float32(1) - half
    expected = np.where(index >= 0, half, mirrored)
    values = torch.from_numpy(index.astype(np.float32)) * 2.0**EXPONENT
    with TableMode(EXPONENT):
        found = getattr(torch, name)(values)
    assert np.array_equal(found.numpy(), expected)
    plain = getattr(torch, name)(values)
    # Outside the mode torch is as it was, and the tables' ends are what makes the difference.
    assert 1e-3 < float((plain - found).abs().max()) < 2e-3


class Recurrent(nn.Module):
    """A recurrent layer on `[batch, channels, time]` whose gates reach the ends of their tables."""

    def __init__(self, kind: type[nn.GRU] | type[nn.LSTM], layers: int) -> None:
        super().__init__()
        self.rnn, self.head = kind(6, 8, layers, batch_first=True), nn.Conv1d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.rnn(4 * x.transpose(1, 2))[0].transpose(1, 2))
        return y


KINDS = [(nn.GRU, 1), (nn.GRU, 2), (nn.LSTM, 1), (nn.LSTM, 3)]


def quantized(
    kind: type[nn.GRU] | type[nn.LSTM], layers: int, precision: str, worker: Worker, target: str = "esp32s3"
) -> QuantizedModel:
    model, recordings = converted(kind, layers)
    options = Quantization(precision=precision, method="percentile")  # type: ignore[arg-type]
    return quantize(model, calibrate(model, recordings), options, target, worker=worker)


def converted(kind: type[nn.GRU] | type[nn.LSTM], layers: int) -> tuple[StreamingModel, list[Tensor]]:
    module = randomise(Recurrent(kind, layers), 1).float()
    generator = torch.Generator().manual_seed(2)
    recordings = [torch.randn(6, frames, generator=generator) for frames in (230, 60)]
    return convert(module, recordings[0]), recordings


@pytest.mark.parametrize("precision", ["int8", "int16"])
@pytest.mark.parametrize(("kind", "layers"), KINDS)
def test_integers_agree_in_closed_loop_over_200_windows(
    worker: Worker, kind: type[nn.GRU] | type[nn.LSTM], layers: int, precision: str
) -> None:
    result = prove_integers(quantized(kind, layers, precision, worker), converted(kind, layers)[1], worker)
    assert len(result.golden.inputs["x"]) >= 200
    parity = next(proof for proof in result.proofs if proof.name.startswith("files window by window"))
    # Not one value differs, in int16 either, but for the convolution behind the layer.
    assert parity.figure == 0 or precision == "int16"


@pytest.mark.parametrize("target", ["esp32p4", "esp32c3"])
@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_int16_agrees_on_the_other_families_too(
    worker: Worker, kind: type[nn.GRU] | type[nn.LSTM], target: str
) -> None:
    model = quantized(kind, 1, "int16", worker, target)
    (proof,) = [
        proof
        for proof in prove_integers(model, converted(kind, 1)[1], worker).proofs
        if proof.name.startswith("files window by window")
    ]
    assert proof.passed
    assert proof.figure <= 2


@pytest.mark.parametrize("precision", ["int8", "int16"])
def test_the_cell_is_int16_and_enters_with_the_exponent_that_it_has_inside(worker: Worker, precision: str) -> None:
    model = quantized(nn.LSTM, 2, precision, worker)
    caches = {cache.tensor.name: cache.tensor for cache in model.stages[0].caches}
    assert set(caches) == {"rnn.hidden_0", "rnn.cell_0", "rnn.hidden_1", "rnn.cell_1"}
    for name, tensor in caches.items():
        assert str(tensor.dtype) == ("int16" if "cell" in name else precision)
        assert tensor.exponent == EXPONENT or "cell" not in name
    types = [operator.type for operator in read_espdl(model.stages[0].data).operators]
    # Kept to the bit: nothing rounds the cell on its way out of one window and into the next.
    assert "RequantizeLinear" not in types
    assert types.count("LSTM") == 2


def test_every_layer_is_fed_its_state(worker: Worker) -> None:
    file = read_espdl(quantized(nn.LSTM, 3, "int8", worker).stages[0].data)
    layers = [operator for operator in file.operators if operator.type == "LSTM"]
    assert len(layers) == 3
    assert all(operator.inputs[5] and operator.inputs[6] for operator in layers)
