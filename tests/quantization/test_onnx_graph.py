"""A streaming model as an ONNX graph: names stay, and each operator's module is known."""

import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn

from lightning_esp import Streaming, convert
from lightning_esp.errors import ConversionError
from lightning_esp.quantization import onnx_graph
from lightning_esp.quantization.onnx_graph import graph_inputs, graph_outputs, module_path, to_onnx, traced_once
from tests.models.contracts import CASES


@pytest.mark.parametrize("name", ["tutorial", "two_inputs", "two_outputs", "recurrent"])
def test_the_graph_computes_a_step_under_our_names(name: str) -> None:
    case = CASES[name]
    model = convert(case.module(), case.recordings(40)[0], case.streaming)
    graph = onnx.load_from_string(to_onnx(model))
    assert [value.name for value in graph.graph.input] == list(graph_inputs(model.spec))
    assert [value.name for value in graph.graph.output] == list(graph_outputs(model.spec))
    generator = torch.Generator().manual_seed(0)
    values = {n: torch.randn(shape, generator=generator) for n, shape in graph_inputs(model.spec).items()}
    results = ReferenceEvaluator(graph).run(None, {n: v.numpy() for n, v in values.items()})
    caches = {cache.name: values.pop(cache.name) for cache in model.spec.caches}
    expected = model.step_values(values, caches)
    for found, output in zip(results, graph_outputs(model.spec), strict=True):
        assert torch.allclose(torch.from_numpy(found), expected[output], atol=1e-5)


def test_shapes_are_known_where_torch_leaves_them_open() -> None:
    # It writes this norm as a branch on the number of axes, and what is behind it without a shape.
    model = convert(nn.Sequential(nn.LocalResponseNorm(2), nn.Conv1d(3, 2, 1)), torch.randn(3, 20), Streaming(stages=2))
    graph = onnx.load_from_string(to_onnx(model)).graph
    shapes = {value.name: [size.dim_value for size in value.type.tensor_type.shape.dim] for value in graph.output}
    assert shapes == {"stage_0.output": [1, 3, 2], "output": [1, 2, 2]}


@pytest.mark.parametrize(
    ("operator", "stages", "path"),
    [
        ("/stages.0/conv/Conv", ["stage_0"], "conv"),
        ("/stages.0/blocks.1/conv/conv.0/Conv", ["stage_0"], "blocks.1.conv.0"),
        ("/stages.0/blocks.0.2/Conv", ["stage_0"], "blocks.0.2"),
        ("/stages.1/layers/layers.2/Conv", ["encoder", "decoder.low"], "decoder.low.layers.2"),
        ("/stages.1/blocks.3/Conv", ["stage_0", "stage_1"], "blocks.3"),
        ("/stages.0/Add_1", ["encoder"], "encoder"),
        ("/stages.0/Add_1", ["stage_0"], "stage_0"),
        ("PPQ_Operation_7", ["encoder"], "PPQ_Operation_7"),
    ],
)
def test_operators_know_their_module(operator: str, stages: list[str], path: str) -> None:
    assert module_path(operator, stages) == path


def test_what_torch_cannot_export_is_refused() -> None:
    class Bessel(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.special.bessel_j0(x)

        def streaming_forward(self, x: Tensor) -> Tensor:
            return self.forward(x)

    model = convert(Bessel(), torch.randn(8, 20), Streaming(time_axis=2))
    with pytest.raises(ConversionError, match=r"cannot be written as ONNX: .*bessel_j0"):
        to_onnx(model)


def test_a_model_is_traced_once_where_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    model = convert(nn.Conv1d(2, 2, 1), torch.zeros(2, 8))
    traced = to_onnx(model)
    traces: list[object] = []
    right = onnx_graph._trace
    monkeypatch.setattr(onnx_graph, "_trace", lambda found: traces.append(found) or right(found))
    with traced_once(model):
        assert to_onnx(model) == to_onnx(model) == traced
    assert len(traces) == 1
    with torch.no_grad():
        model.stages[0].get_parameter(next(name for name, _ in model.stages[0].named_parameters())).mul_(2)
    assert to_onnx(model) != traced
    assert len(traces) == 2
