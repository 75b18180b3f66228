"""Models cut into stages: what crosses a cut is written by one file and read by the next, with one exponent."""

from collections.abc import Callable, Sequence

import onnx
import pytest
import torch
from torch import Tensor, nn

from lightning_esp import Quantization, Streaming, calibrate, convert, quantize
from lightning_esp.quantization import Worker
from lightning_esp.quantization.onnx_graph import to_onnx
from lightning_esp.quantization.rewrites import rewrite
from lightning_esp.quantization.simplification import change_stages, simplified
from lightning_esp.verification.verify import prove_float, prove_integers
from tests.models.pieces import CausalConv, Function, randomise


def conv_rnn(kind: type[nn.Module]) -> nn.Module:
    return Function(
        lambda m, x: m.head(m.rnn(torch.relu(m.conv(x)).transpose(1, 2))[0]),
        conv=CausalConv(6, 8, 3),
        rnn=kind(8, 8, batch_first=True),
        head=nn.Linear(8, 3),
    )


def residual() -> nn.Module:
    """The second GRU's state meets the residual's scale, which the first one's does not."""

    def forward(m: nn.Module, x: Tensor) -> Tensor:
        h = m.norm(m.low(x)[0]) + 0.5 * x
        return m.head(m.high(h)[0] + h)

    low, high = nn.GRU(8, 8, batch_first=True), nn.GRU(8, 8, batch_first=True)
    return Function(forward, low=low, norm=nn.LayerNorm(8), high=high, head=nn.Linear(8, 3))


def two_layers() -> nn.Module:
    return Function(lambda m, x: m.head(m.rnn(x)[0]), rnn=nn.LSTM(6, 8, 2, batch_first=True), head=nn.Linear(8, 3))


def late() -> nn.Module:
    """The last stage reads the input of the model again."""
    return Function(
        lambda m, x: m.last(torch.cat([torch.relu(m.second(torch.relu(m.first(x)))), x], dim=1)),
        first=CausalConv(6, 8, 3), second=CausalConv(8, 6, 3), last=CausalConv(12, 3, 2),
    )  # fmt: skip


def time_first() -> nn.Module:
    """Time comes before the batch where a cut falls, between the layers."""
    return Function(
        lambda m, x: m.head(m.rnn(x.permute(2, 0, 1))[0]).permute(1, 2, 0), rnn=nn.GRU(6, 4, 2), head=nn.Linear(4, 3)
    )


def gated() -> nn.Module:
    """What is turned behind the norm leaves the first stage, and is turned back there for the next convolution."""

    def forward(m: nn.Module, x: Tensor) -> Tensor:
        y = m.norm(x.mT).mT
        return y * torch.sigmoid(m.up(torch.relu(m.down(y))))

    return Function(forward, norm=nn.LayerNorm(6), down=nn.Conv1d(6, 2, 1), up=nn.Conv1d(2, 6, 1))


class Halves(nn.Module):
    """A convolution and a recurrent layer, as stages by path."""

    def __init__(self) -> None:
        super().__init__()
        self.low = Function(lambda m, x: torch.relu(m.conv(x)).transpose(1, 2), conv=CausalConv(6, 8, 3))
        self.high = two_layers()
        self.high.rnn = nn.LSTM(8, 8, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.high(self.low(x))
        return y


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int | list[str], str]] = {
    "conv and GRU": (lambda: conv_rnn(nn.GRU), (6, 40), 2, "int8"),
    "conv and GRU in int16": (lambda: conv_rnn(nn.GRU), (6, 40), 3, "int16"),
    "conv and LSTM": (lambda: conv_rnn(nn.LSTM), (6, 40), 3, "int8"),
    "LSTM of two layers": (two_layers, (40, 6), 3, "int8"),
    "GRUs around a residual": (residual, (40, 8), 3, "int8"),
    "input read late": (late, (6, 40), 3, "int8"),
    "time before the batch": (time_first, (6, 40), 3, "int8"),
    "output between two transpositions": (gated, (6, 40), 2, "int8"),
    "by path": (Halves, (6, 40), ["low", "high"], "int8"),
}


def settings(stages: int | list[str]) -> Streaming:
    return Streaming(stages=stages)


@pytest.mark.parametrize("name", CASES)
def test_cut_models_are_proved_in_integers(worker: Worker, name: str) -> None:
    make, shape, stages, precision = CASES[name]
    torch.manual_seed(0)
    module, recordings = make().eval(), [torch.randn(shape) for _ in range(3)]
    prove(module, recordings, settings(stages), precision, worker)


def prove(
    module: nn.Module, recordings: Sequence[Tensor], streaming: Streaming, precision: str, worker: Worker
) -> None:
    model = convert(module, recordings[0], streaming)
    prove_float(module, model, recordings)
    options = Quantization(precision=precision)  # type: ignore[arg-type]
    files = quantize(model, calibrate(model, recordings), options, worker=worker)
    assert len(files.stages) == len(model.spec.stages) > 1
    assert all(proof.passed for proof in prove_integers(files, recordings, worker).proofs)


def readers_across(model: onnx.ModelProto) -> list[str]:
    """Tensors that a node of one stage reads from inside another, without their being outputs."""

    def stage(name: str) -> str:
        return name.split("/")[1]

    made = {output: node.name for node in model.graph.node for output in node.output}
    outputs = {output.name for output in model.graph.output}
    return [
        name
        for node in model.graph.node
        for name in node.input
        if name in made and name not in outputs and stage(made[name]) != stage(node.name)
    ]


@pytest.mark.parametrize("make", [lambda: conv_rnn(nn.GRU), two_layers])
def test_nothing_looks_through_a_cut(make: Callable[[], nn.Module]) -> None:
    shape = (40, 6) if make is two_layers else (6, 40)
    model = convert(randomise(make(), 0).float(), torch.randn(shape), Streaming(stages=3))
    graph = onnx.load_from_string(to_onnx(model))
    assert readers_across(graph) == []
    assert readers_across(change_stages(graph, simplified, rewrite)) == []
    # Without care it happens: two transposes become one, or none.
    assert readers_across(rewrite(simplified(graph))) != []


def test_a_change_keeps_inputs_and_outputs_and_the_order_of_execution() -> None:
    model = convert(randomise(late(), 0).float(), torch.randn(6, 40), Streaming(stages=3))
    graph = onnx.load_from_string(to_onnx(model))
    changed = change_stages(graph, simplified)
    for before, after in ((graph.graph.input, changed.graph.input), (graph.graph.output, changed.graph.output)):
        assert [value.name for value in before] == [value.name for value in after]
    onnx.checker.check_model(changed, full_check=True)
