"""Operators that have no integer form that is proved on the chip, each with what to use instead."""

from __future__ import annotations

from collections.abc import Sequence

from esp_ppq.IR import BaseGraph, Operation

from lightning_esp.errors import DeviceSafetyError
from lightning_esp.quantization.functions import FUNCTIONS, PROVED
from lightning_esp.quantization.onnx_graph import module_path

_COMPARE = "use a smooth gate, x * torch.sigmoid(k * x), since comparing has no integer form"
_LOGICAL = "compute with gates in the range 0 to 1, and decide after the model"
_FLOAT = "move it into the front end, or behind the model: ESP-DL computes it in float32"
_LARGER = "write the larger of a and b as a + torch.relu(b - a), the smaller as a - torch.relu(a - b)"
_PERIODIC = "compute it in the front end: ESP-DL has no such operator"
_STEPS = "leave it out: int8 rounds anyway"
_INDEX = "return the scores, and take the index after the model"

REPLACEMENTS: dict[str, str] = {
    "Erf": "use nn.GELU(approximate='tanh') or nn.SiLU for nn.GELU",
    "Softplus": "use nn.SiLU or nn.ReLU",
    "Selu": "use nn.ELU",
    "Celu": "use nn.ELU",
    "Softsign": "use torch.tanh",
    "Abs": "write it as torch.relu(x) + torch.relu(-x)",
    "Sign": "use torch.tanh(k * x)",
    "Pow": "write whole powers as products, x * x",
    "Log": _FLOAT,
    "Sqrt": "write a norm with its eps inside the root, x / torch.sqrt(variance + eps), which becomes a layer norm; else "
    + _FLOAT,
    "Reciprocal": "divide by the tensor, 1 / x, only where it has more than one element; else multiply by a constant",
    "LpNormalization": "use nn.LayerNorm over the channels",
    "ReduceLogSumExp": "return the logits, and sum after the model",
    "ReduceProd": "multiply slices of the tensor, x[:, :1] * x[:, 1:2]",
    "CumSum": "use a convolution whose weights are a triangle of ones, nn.Conv1d(n, n, 1)",
    "Attention": "write it as torch.softmax(q @ k.mT * scale, -1) @ v: ESP-DL has no such operator",
    "Einsum": "use nn.Conv1d(inputs, outputs, 1), or nn.Linear on [batch, time, channels]",
    "Expand": "leave the expansion out: operators broadcast axes of size 1",
    "Max": _LARGER,
    "Min": _LARGER,
    "Mod": _STEPS,
    **dict.fromkeys(("Floor", "Ceil", "Round"), _STEPS),
    **dict.fromkeys(("Sin", "Cos"), _PERIODIC),
    **dict.fromkeys(("ArgMax", "ArgMin"), _INDEX),
    **dict.fromkeys(("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "Where"), _COMPARE),
    **dict.fromkeys(("And", "Or", "Not", "Xor", "IsNaN", "IsInf"), _LOGICAL),
}
_SOFTMAX = (
    "return the logits, the largest of which is the same, and take the softmax after the model: it would leave it as "
    "float32, whose last bit differs between libraries"
)


def check_operators(graph: BaseGraph, stages: Sequence[str]) -> None:
    """Refuse operators that no integer form is proved for.

    Args:
        graph: the float graph.
        stages: names of the stages.

    Raises:
        DeviceSafetyError: there is one; the message names its module, and what to use instead.
    """
    for operation in graph.topological_sort():
        advice = _advice(operation, graph)
        if advice:
            module = module_path(operation.name, stages)
            raise DeviceSafetyError(
                f"module {module!r}: the operator {operation.type} ({operation.name}) has no integer form that is proved to "
                f"be right on the chip. Instead, {advice}."
            )


def _advice(operation: Operation, graph: BaseGraph) -> str:
    if operation.type == "Softmax" and operation.outputs[0].name in graph.outputs:
        return _SOFTMAX
    advice = REPLACEMENTS.get(operation.type, "")
    moving = [variable for variable in operation.inputs if not variable.is_parameter]
    return (
        f"{advice}, or leave the module in int8: int8 holds it as a table" if _is_table(operation, moving) else advice
    )


def _is_table(operation: Operation, moving: Sequence[object]) -> bool:
    """Tell whether int8 would hold it as a table: a function of one value, here since its module is int16."""
    return operation.type in FUNCTIONS and operation.type not in PROVED and len(moving) == 1
