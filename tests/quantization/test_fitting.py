"""Parameters that would clip: scales are coarsened until they fit, and what cannot be made to fit is refused."""

import math

import pytest
import torch
from torch import Tensor, nn

from lightning_esp import Quantization, QuantizedModel, calibrate, convert, quantize
from lightning_esp.errors import QuantizationError
from lightning_esp.espdl import read_espdl
from lightning_esp.quantization import Worker
from lightning_esp.simulation import QuantizedStreaming

BIAS_BITS = {
    ("esp32s3", "int8"): 20,
    ("esp32p4", "int8"): 32,
    ("esp32s3", "int16"): 40,
    ("esp32p4", "int16"): 40,
    ("esp32c3", "int16"): 40,
}


def recordings(amplitude: float = 1.0, channels: int = 6) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [amplitude * torch.randn(channels, 40, generator=generator) for _ in range(3)]


def build(module: nn.Module, given: list[Tensor], worker: Worker, target: str, precision: str) -> QuantizedModel:
    model = convert(module.eval(), given[0])
    setting = Quantization(precision=precision)  # type: ignore[arg-type]
    return quantize(model, calibrate(model, given), setting, target, worker=worker)


def biases(quantized: QuantizedModel) -> list[int]:
    file = read_espdl(quantized.stages[0].data)
    found = [file.tensors[op.inputs[2]].data for op in file.operators if op.type in ("Conv", "Gemm")]
    return [int(abs(values.astype("int64")).max()) for values in found if values is not None]


@torch.no_grad()
def ratio(module: nn.Module, quantized: QuantizedModel, given: list[Tensor]) -> float:
    x = torch.stack(given)
    true, found = module(x), QuantizedStreaming(quantized)(x)
    assert isinstance(found, Tensor)
    return 10 * math.log10(true.square().sum() / (true - found).square().sum())


class DeadReLU(nn.Module):
    """A branch whose ReLU never lets anything through, so that its input has the finest scale there is."""

    def __init__(self) -> None:
        super().__init__()
        self.dead, self.behind, self.other = nn.Conv1d(6, 8, 1), nn.Conv1d(8, 4, 1), nn.Conv1d(6, 4, 1)
        with torch.no_grad():
            self.dead.bias.sub_(50)

    def forward(self, x: Tensor) -> Tensor:
        return self.behind(torch.relu(self.dead(x))) + self.other(x)


@pytest.mark.parametrize(("target", "precision"), BIAS_BITS)
@pytest.mark.parametrize("kind", ["quiet recordings", "dead branch", "zero weights", "zero channel", "transposed"])
def test_a_bias_fits_with_room_for_the_products(worker: Worker, kind: str, target: str, precision: str) -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv1d(6, 8, 1), nn.ReLU(), nn.Conv1d(8, 4, 1))
    module: nn.Module = DeadReLU() if kind == "dead branch" else plain
    if kind == "transposed":
        module = nn.Sequential(nn.ConvTranspose1d(6, 8, 2, stride=2), nn.ReLU())
    if kind == "zero weights":
        nn.init.zeros_(plain[2].weight)  # type: ignore[arg-type]
    if kind == "zero channel":
        with torch.no_grad():
            plain[2].weight[1] = 0  # type: ignore[index,operator]
    given = recordings(1e-4 if kind in ("quiet recordings", "transposed") else 1.0)
    quantized = build(module, given, worker, target, precision)
    assert max(biases(quantized)) <= 1 << (BIAS_BITS[target, precision] - 2)
    least = {("int16", "quiet recordings"): 85, ("int16", "dead branch"): 75, ("int16", "zero channel"): 70}
    assert ratio(module, quantized, given) > least.get((precision, kind), 60 if precision == "int16" else 12)


class Shifted(nn.Module):
    """A constant beside which the sum, whose integers its operands share, is small."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x) * 0.01 - 5.0 + torch.tensor([[4.9], [5.0], [5.1]])


@pytest.mark.parametrize("precision", ["int8", "int16"])
def test_constants_fit(worker: Worker, precision: str) -> None:
    given = recordings(channels=3)
    quantized = build(Shifted(), given, worker, "esp32s3", precision)
    assert ratio(Shifted(), quantized, given) > (10 if precision == "int8" else 50)


def test_a_large_outlier_among_many_weights_is_kept(worker: Worker) -> None:
    torch.manual_seed(0)
    module = nn.Conv1d(120, 120, 1)
    with torch.no_grad():
        module.weight.mul_(0.1)
        module.weight[0, 0] = 4.0
    given = recordings(channels=120)
    file = read_espdl(build(module, given, worker, "esp32s3", "int8").stages[0].data)
    weight = file.tensors[file.operators[0].inputs[1]]
    assert weight.data is not None
    assert isinstance(weight.exponent, int)
    assert float(weight.data.max()) * 2.0**weight.exponent == pytest.approx(4.0, rel=0.02)


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_a_bias_beyond_the_fixed_scale_of_a_cell_is_refused(worker: Worker, kind: type[nn.GRU]) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = kind(6, 4, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.rnn(x)[0]

    module = Net()
    with torch.no_grad():
        module.rnn.bias_ih_l0[2] = 90.0  # type: ignore[index,operator]
    given = [x.T.contiguous() for x in recordings()]
    message = (
        r"module 'rnn': a parameter of (GRU|LSTM) \(.*\) is 90, but its 16 bits hold at most 63\.998.*weight decay"
    )
    with pytest.raises(QuantizationError, match=message):
        build(module, given, worker, "esp32s3", "int8")
