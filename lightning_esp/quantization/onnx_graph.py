"""A `StreamingModel` as one ONNX graph, in which inputs, stage outputs and caches keep our names."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from lightning_esp.conversion import Port, StreamingModel, StreamSpec, located
from lightning_esp.errors import ConversionError
from lightning_esp.quantization.symbolics import known, logged

OPSET = 18
_DOMAIN, _NAME = "lightning_esp", "Boundary"


def graph_inputs(spec: StreamSpec) -> dict[str, tuple[int, ...]]:
    """Names and shapes of what enters the graph: model inputs, then caches."""
    return {**{port.name: port.shape for port in spec.inputs}, **{cache.name: cache.shape for cache in spec.caches}}


def boundary_ports(spec: StreamSpec) -> tuple[Port, ...]:
    """The outputs of all stages, in order."""
    return tuple(port for stage in spec.stages for port in stage.outputs)


def graph_outputs(spec: StreamSpec) -> tuple[str, ...]:
    """Names of what leaves the graph: the outputs of every stage, then the new caches."""
    return (*(port.name for port in boundary_ports(spec)), *(cache.next for cache in spec.caches))


class Boundary(torch.autograd.Function):
    """Passes a tensor on between two stages, and becomes an operator of its own in ONNX, which torch cannot look through.

    Without it, torch joins operators of two stages, two transposes say, into one that reads a tensor before the cut.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Return a copy, since a tensor that is given back unchanged leaves no trace."""
        return x.clone()

    @staticmethod
    def symbolic(graph: Any, x: Any) -> Any:
        """Write the operator."""
        return graph.op(f"{_DOMAIN}::{_NAME}", x).setType(x.type())


def separate(x: Tensor) -> Tensor:
    """Mark where a tensor enters a later stage."""
    marked: Tensor = Boundary.apply(x)  # type: ignore[no-untyped-call]
    return marked


class Pipeline(nn.Module):
    """All stages of one window in a row, with every cache and stage output visible."""

    def __init__(self, model: StreamingModel) -> None:
        super().__init__()
        self.stages = nn.ModuleList(located(stage) for stage in model.stages)
        self.model = replace(model, stages=tuple(self.stages))

    def forward(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        """Map `graph_inputs` to `graph_outputs`."""
        spec = self.model.spec
        given = dict(zip(graph_inputs(spec), arguments, strict=True))
        values = dict(given)
        for stage, module in zip(spec.stages, self.stages, strict=True):
            taken = [values[name] if name in given else separate(values[name]) for name in stage.input_names]
            values.update(zip(stage.output_names, module(*taken), strict=True))
        return tuple(values[name] for name in graph_outputs(spec))


_TRACES: dict[int, bytes | None] = {}


@contextmanager
def traced_once(model: StreamingModel) -> Iterator[None]:
    """Within it, `to_onnx` traces this model once: nobody changes its weights there.

    Args:
        model: the model that is quantized again and again.
    """
    _TRACES[id(model)] = None
    try:
        yield
    finally:
        del _TRACES[id(model)]


def to_onnx(model: StreamingModel) -> bytes:
    """Trace one window of the model, in float32, into an ONNX file.

    Raises:
        ConversionError: torch cannot export it; the message names the module and what torch says.
    """
    traced = _TRACES.get(id(model)) or _trace(model)
    if id(model) in _TRACES:
        _TRACES[id(model)] = traced
    return traced


def _trace(model: StreamingModel) -> bytes:
    spec = model.spec
    examples = tuple(torch.zeros(shape, dtype=torch.float32) for shape in graph_inputs(spec).values())
    # The TorchScript exporter keeps names and module paths; the newer one renames both.
    with warnings.catch_warnings(), torch.no_grad(), logged() as graphs:
        warnings.simplefilter("ignore")
        file, pipeline = io.BytesIO(), Pipeline(model).float().eval()
        try:
            with known(OPSET):
                torch.onnx.export(
                    pipeline,
                    examples,
                    file,  # type: ignore[arg-type]  # takes any file, whatever its annotation says
                    input_names=list(graph_inputs(spec)),
                    output_names=list(graph_outputs(spec)),
                    opset_version=OPSET,
                    dynamo=False,
                )
        except Exception as error:  # torch's exporter raises whatever one of its operators raises
            raise _refusal(error, "\n".join(graphs), spec) from error
        model_file = join_stages(onnx.load_from_string(file.getvalue()))
        _declare_shapes(model_file, dict(zip(graph_outputs(spec), pipeline(*examples), strict=True)))
        written: bytes = model_file.SerializeToString(deterministic=True)
        return written


def join_stages(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model whose later stages read what the earlier ones give, without the operators of `separate`."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    outputs = {output.name for output in result.graph.output}
    given: dict[str, str] = {}
    kept = []
    for node in result.graph.node:
        node.input[:] = [given.get(name, name) for name in node.input]
        if node.domain != _DOMAIN:
            kept.append(node)
        elif node.output[0] in outputs:
            # A stage gives back what it was given.
            kept.append(onnx.helper.make_node("Identity", node.input, node.output, node.name))
        else:
            given[node.output[0]] = node.input[0]
    del result.graph.node[:]
    result.graph.node.extend(kept)
    imports = [entry for entry in result.opset_import if entry.domain != _DOMAIN]
    del result.opset_import[:]
    result.opset_import.extend(imports)
    return result


def _declare_shapes(model: onnx.ModelProto, outputs: Mapping[str, Tensor]) -> None:
    """Write the shapes of what leaves the graph, which torch leaves open behind a reshape or a branch.

    A later stage reads what an earlier one gives by this shape.
    """
    for output in model.graph.output:
        shape = output.type.tensor_type.shape
        del shape.dim[:]
        shape.dim.extend(onnx.TensorShapeProto.Dimension(dim_value=size) for size in outputs[output.name].shape)


def _refusal(error: Exception, graph: str, spec: StreamSpec) -> ConversionError:
    """The first line of what torch says, which appends its whole graph, and the module that it says it of."""
    said, _, caused = str(error).partition("[Caused by")
    operator = re.search(r"aten::\w+", said)
    lines = [line for line in graph.splitlines() if operator and f"{operator.group()}(" in line]
    scopes = re.findall(r"scope: ([^\s,#]+)", "\n".join([caused, *lines]))
    reason = said.strip().splitlines()[0].rstrip(".")
    where = f"module {_path_of(scopes[-1], spec)!r}" if scopes else "the streaming form"
    return ConversionError(
        f"{where} cannot be written as ONNX: {reason}. Compute that before or behind the exported model, or replace it by "
        "layers that ESP-DL has."
    )


def _path_of(scope: str, spec: StreamSpec) -> str:
    names = [part.rpartition("::")[2] for part in scope.split("/")]
    return module_path("/".join([*filter(None, names), "operator"]), [stage.name for stage in spec.stages])


def module_path(operator: str, stages: Sequence[str]) -> str:
    """The module in the user's model that an operator of the graph came from.

    Args:
        operator: name that torch gave it, such as `/stages.0/blocks.1/conv/conv.0/Conv`.
        stages: names of the stages.

    Returns:
        Its path, such as `blocks.1.conv.0`, which begins with the stage's where that is a path too; the name of the stage
        for an operator outside all modules.
    """
    parts = [part for part in operator.split("/") if part]
    if not parts or not parts[0].startswith("stages."):
        return operator
    index = int(parts[0].split(".")[1])
    scopes: list[str] = []
    for part in parts[1:-1]:
        if scopes and part.startswith(f"{scopes[-1]}."):
            scopes[-1] = part
        else:
            scopes.append(part)
    prefix = [] if stages[index] == f"stage_{index}" else [stages[index]]
    return ".".join([*prefix, *scopes]) or stages[index]
