"""esp-ppq's graph without quantization against the streaming form: equal, and the operator is named where it is not."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from lightning_esp import Quantization, QuantizedModel, StreamingModel, calibrate, convert, quantize
from lightning_esp.errors import ProofError
from lightning_esp.quantization import Worker
from lightning_esp.verification.graph import LIMIT, graph_parity
from lightning_esp.verification.verify import prove_graph
from tests.models.built import Built
from tests.models.contracts import CASES
from tests.models.pieces import CausalConv, Function, randomise

Build = Callable[..., Built]


@pytest.mark.parametrize("precision", ["int8", "int16"])
@pytest.mark.parametrize("name", CASES)
def test_the_graph_of_every_contract_is_the_one_that_was_given(
    build: Build, worker: Worker, name: str, precision: str
) -> None:
    built = build(name, precision)
    proof = graph_parity(built.model, built.quantized, built.recordings, worker)
    assert proof.passed
    assert proof.figure < 1e-5


class Net(nn.Module):
    """A network of which one part can be another one."""

    def __init__(self, **others: nn.Module) -> None:
        super().__init__()
        self.first = CausalConv(3, 4, 3, dilation=2)
        self.act: nn.Module = nn.SiLU()
        self.pool: nn.Module = nn.AvgPool1d(2, 2)
        self.last = nn.Conv1d(4, 2, 1)
        randomise(self, 0)
        for name, other in others.items():
            setattr(self, name, other)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.pool(self.act(self.first(x))))


Made = tuple[StreamingModel, QuantizedModel, list[Tensor]]


def make(module: nn.Module, worker: Worker) -> Made:
    generator = torch.Generator().manual_seed(0)
    recordings = [torch.randn(3, frames, generator=generator) for frames in (40, 32)]
    model = convert(module.float(), recordings[0])
    return model, quantize(model, calibrate(model, recordings), worker=worker), recordings


@pytest.fixture(scope="module")
def good(worker: Worker) -> Made:
    return make(Net(), worker)


def bent() -> nn.Module:
    net = Net()
    with torch.no_grad():
        net.last.weight[0, 0] += 0.001
    return net


# The first tensor that both sides have is the output of the layer behind, where the other layer names its own otherwise.
FAULTS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "another function": (lambda: Net(act=nn.Hardswish()), r"module 'pool', operator AveragePool \(/stages\.0/pool/"),
    "another operator": (
        lambda: Net(pool=nn.MaxPool1d(2, 2)),
        r"module 'last', operator Conv \(/stages\.0/last/Conv\)",
    ),
    "a weight that is off by a thousandth": (bent, r"module 'last', operator Conv \(/stages\.0/last/Conv\)"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_first_module_that_computes_something_else_is_named(good: Made, worker: Worker, fault: str) -> None:
    model, quantized, recordings = good
    other, message = FAULTS[fault]
    assert prove_graph(model, quantized, recordings, worker)
    wrong = make(other(), worker)[1]
    with pytest.raises(ProofError, match=rf"esp-ppq's graph equals .* at most 0\.0001 is allowed\. .*{message}"):
        prove_graph(model, wrong, recordings, worker)


def test_an_output_that_the_graph_has_lost_is_named(good: Made, worker: Worker) -> None:
    model, quantized, recordings = good
    (stage,) = model.spec.stages
    renamed = replace(stage, outputs=(replace(stage.outputs[0], name="other"),))
    spec = replace(model.spec, outputs=renamed.outputs, stages=(renamed,))
    with pytest.raises(ProofError, match=r"inf, .* allowed\. tensor 'other' of recording 0"):
        prove_graph(replace(model, spec=spec), quantized, recordings, worker)


def test_what_float32_itself_does_not_know_is_no_difference(worker: Worker) -> None:
    # Nothing but rounding is left of the difference, and it differs with the order of the sum.
    layers = Function(lambda m, x: m.a(x) - m.b(x), a=nn.Conv1d(24, 3, 1), b=nn.Conv1d(24, 3, 1))
    with torch.no_grad():
        layers.b.weight.copy_(layers.a.weight.flip(0).flip(0))
        layers.b.bias.copy_(layers.a.bias + 1e-7)
    recordings = [torch.randn(24, 40, generator=torch.Generator().manual_seed(0))]
    model = convert(layers, recordings[0])
    quantized = quantize(model, calibrate(model, recordings), Quantization(precision="int16"), worker=worker)
    assert graph_parity(model, quantized, recordings, worker).figure <= LIMIT
