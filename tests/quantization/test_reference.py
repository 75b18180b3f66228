"""The interpreter of the onnx package with an LSTM that gives its cell state."""

import onnx
import pytest
import torch
from torch import nn

from lightning_esp import convert
from lightning_esp.quantization.onnx_graph import graph_inputs, graph_outputs, to_onnx
from lightning_esp.quantization.reference import run_reference
from tests.models.pieces import Function, randomise


@pytest.mark.parametrize("bias", [True, False])
def test_an_lstm_gives_its_cell_state(bias: bool) -> None:
    rnn = nn.LSTM(3, 4, 2, bias=bias, batch_first=True)
    model = convert(randomise(Function(lambda m, x: m.rnn(x)[0], rnn=rnn), 0).float(), torch.randn(20, 3))
    generator = torch.Generator().manual_seed(0)
    given = {name: torch.randn(shape, generator=generator) for name, shape in graph_inputs(model.spec).items()}
    found = run_reference(onnx.load_from_string(to_onnx(model)), {name: value.numpy() for name, value in given.items()})
    caches = {cache.name: given.pop(cache.name) for cache in model.spec.caches}
    expected = model.step_values(given, caches)
    for name in graph_outputs(model.spec):
        torch.testing.assert_close(torch.from_numpy(found[name]), expected[name], rtol=1e-5, atol=1e-5)
