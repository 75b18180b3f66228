"""Operators that the chip lacks are refused by name, and what the message says to use instead is exported."""

from collections.abc import Callable
from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_esp import Quantization, QuantizedModel, calibrate, convert, quantize
from lightning_esp.errors import DeviceSafetyError
from lightning_esp.espdl import read_espdl
from lightning_esp.quantization import Worker
from lightning_esp.verification.verify import prove_integers
from tests.models.pieces import CausalConv, Function, randomise

Forward = Callable[..., Tensor]

# The function, what the message says, and a function that follows it.
CASES: dict[str, tuple[Forward, str, Forward]] = {
    "gelu": (lambda m, x: F.gelu(x), r"Erf .*use nn\.GELU\(approximate='tanh'\) or nn\.SiLU for nn\.GELU",
             lambda m, x: F.gelu(x, approximate="tanh")),
    "mish": (lambda m, x: F.mish(x), r"Softplus .*use nn\.SiLU", lambda m, x: F.silu(x)),
    "selu": (lambda m, x: F.selu(x), r"Selu .*use nn\.ELU", lambda m, x: F.elu(x)),
    "abs": (lambda m, x: x.abs(), r"Abs .*torch\.relu\(x\) \+ torch\.relu\(-x\)",
            lambda m, x: torch.relu(x) + torch.relu(-x)),
    "cube": (lambda m, x: x**3, r"Pow .*write whole powers as products", lambda m, x: x * x * x),
    "sign": (lambda m, x: x.sign(), r"Sign .*torch\.tanh\(k \* x\)", lambda m, x: torch.tanh(3 * x)),
    "larger": (lambda m, x: torch.maximum(x, m.other(x)), r"Max .*a \+ torch\.relu\(b - a\)",
               lambda m, x: x + torch.relu(m.other(x) - x)),
    "smaller": (lambda m, x: torch.minimum(x, m.other(x)), r"Min .*a - torch\.relu\(a - b\)",
                lambda m, x: x - torch.relu(x - m.other(x))),
    "where": (lambda m, x: torch.where(x > 0, x, 0.1 * x), r"Greater .*x \* torch\.sigmoid\(k \* x\)",
              lambda m, x: x * torch.sigmoid(5 * x)),
    "argmax": (lambda m, x: x.argmax(1, keepdim=True).float() + x, r"ArgMax .*return the scores", lambda m, x: x),
    "softmax": (lambda m, x: x.softmax(1), r"Softmax .*return the logits", lambda m, x: x),
    "norm": (lambda m, x: F.normalize(x, dim=1), r"LpNormalization .*nn\.LayerNorm over the channels",
             lambda m, x: m.norm(x.mT).mT),
    "logarithm": (lambda m, x: torch.log(torch.sigmoid(x) + 1), r"Log .*into the front end, or behind the model",
                  lambda m, x: torch.sigmoid(x)),
    "sum of exponentials": (lambda m, x: x + x.logsumexp(1, keepdim=True), r"ReduceLogSumExp .*return the logits",
                            lambda m, x: x),
    "running sum": (lambda m, x: x.cumsum(1), r"CumSum .*nn\.Conv1d\(n, n, 1\)", lambda m, x: m.other(x)),
}  # fmt: skip


# Functions of one value, which are tables in int8.
POINTWISE = ("gelu", "mish", "selu", "abs", "cube", "sign", "where", "logarithm")


def build(
    function: Forward, worker: Worker, precision: Literal["int8", "int16"] = "int8"
) -> tuple[QuantizedModel, list[Tensor]]:
    layers = {"first": CausalConv(4, 6, 3), "other": nn.Conv1d(6, 6, 1), "norm": nn.LayerNorm(6)}
    inner = Function(lambda m, x: function(m, m.first(x)), **layers)
    module = randomise(nn.Sequential(nn.Conv1d(3, 4, 1), inner), 0).float()
    generator = torch.Generator().manual_seed(0)
    recordings = [torch.randn(3, frames, generator=generator) for frames in (40, 31)]
    model = convert(module, recordings[0])
    quantized = quantize(model, calibrate(model, recordings), Quantization(precision=precision), worker=worker)
    return quantized, recordings


@pytest.mark.parametrize("name", CASES)
def test_refused_with_a_replacement_that_is_exported(worker: Worker, name: str) -> None:
    function, message, advised = CASES[name]
    with pytest.raises(DeviceSafetyError, match=message) as raised:
        build(function, worker, "int16" if name in POINTWISE else "int8")
    assert "module '1'" in str(raised.value)
    assert ("int8 holds it as a table" in str(raised.value)) == (name in POINTWISE)
    quantized, recordings = build(advised, worker)
    assert all(proof.passed for proof in prove_integers(quantized, recordings, worker).proofs)


@pytest.mark.parametrize("name", POINTWISE)
def test_functions_of_one_value_are_tables_in_int8(worker: Worker, name: str) -> None:
    quantized, recordings = build(CASES[name][0], worker)
    operators = read_espdl(quantized.stages[0].data).operators
    assert [operator.type for operator in operators if operator.type in ("LUT", "Mul", "Relu", "Div")] == ["LUT"]
    assert all(proof.passed for proof in prove_integers(quantized, recordings, worker).proofs)


def test_a_softmax_inside_the_model_is_no_output(worker: Worker) -> None:
    quantized, recordings = build(lambda m, x: x * x.softmax(1), worker)
    assert all(proof.passed for proof in prove_integers(quantized, recordings, worker).proofs)


def test_a_log_softmax_is_spelled_out(worker: Worker) -> None:
    quantized, recordings = build(lambda m, x: 3 * x.log_softmax(1), worker)
    operators = [operator.type for operator in read_espdl(quantized.stages[0].data).operators]
    assert "LogSoftmax" not in operators
    assert {"ReduceMax", "Exp", "ReduceSum", "LUT"} <= set(operators)
    assert all(proof.passed for proof in prove_integers(quantized, recordings, worker).proofs)


def test_a_log_softmax_in_int16_is_refused(worker: Worker) -> None:
    with pytest.raises(DeviceSafetyError, match="leave the module in int8"):
        build(lambda m, x: x.log_softmax(1), worker, "int16")


def test_a_square_is_a_product(worker: Worker) -> None:
    quantized, recordings = build(lambda m, x: x**2 + m.other(x) ** 2, worker)
    assert all(proof.passed for proof in prove_integers(quantized, recordings, worker).proofs)
