"""A recurrent layer in int16 inside an int8 model."""

import pytest
import torch
from torch import Tensor, nn

from lightning_esp import Calibration, Quantization, Streaming, calibrate, convert, quantize
from lightning_esp.espdl import read_espdl
from lightning_esp.quantization import Worker
from lightning_esp.verification.verify import verify
from tests.models.tutorial_tcn import shake


class Net(nn.Module):
    """A recurrent layer between two others."""

    def __init__(self, kind: type[nn.GRU] | type[nn.LSTM]) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.low, self.rnn, self.head = nn.Linear(8, 8), kind(8, 8, batch_first=True), nn.Linear(8, 4)
        shake(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(torch.tanh(self.low(x)))[0])


@pytest.mark.parametrize("target", ["esp32s3", "esp32p4"])
@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_it_is_int16_and_all_proofs_hold(worker: Worker, kind: type[nn.GRU] | type[nn.LSTM], target: str) -> None:
    module, recordings = Net(kind), list(torch.randn(3, 30, 8, generator=torch.Generator().manual_seed(1)))
    model = convert(module, recordings[0], Streaming(window=2))
    samples = calibrate(model, recordings, Calibration(max_windows=40))
    quantization = Quantization(method="minmax", int16=("rnn",))
    quantized = quantize(model, samples, quantization, target, worker=worker)
    file = read_espdl(quantized.stages[0].data)
    (layer,) = (operator for operator in file.operators if operator.type in ("GRU", "LSTM"))
    assert file.tensors[layer.outputs[0]].dtype == "int16"
    assert {tensor.dtype for tensor in (*quantized.stages[0].inputs, *quantized.stages[0].outputs)} == {"int8"}
    verify(module, model, quantized, recordings, worker=worker)
