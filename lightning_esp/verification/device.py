"""Proof 4: what the chip computes rightly. Unknown and broken operators are refused when the interpreter reads the file."""

from __future__ import annotations

from lightning_esp.espdl import EspdlModel, Operator, read_espdl
from lightning_esp.quantization import QuantizedModel
from lightning_esp.verification.proof import Proof

_SHIFTED = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Mul")


def int16_steps(quantized: QuantizedModel) -> int:
    """By how many steps an int16 value may differ between esp-ppq and the files; 0 where no output is int16.

    Sums of int16 products agree: ESP-DL keeps them in 64 bits, esp-ppq, as it is called here, in double precision. What
    ESP-DL computes in float32 (Mul, Div, pools, means, norms) it rounds twice, first to 24 bits and then to a
    step, so a value next to a tie may end one step off, and two such operators two steps off. A lookup table takes the
    nearest of its entries, so such a step before a table may become one table step behind it.
    """
    if not any(tensor.dtype == "int16" for stage in quantized.stages for tensor in stage.outputs):
        return 0
    operators = [operator for stage in quantized.stages for operator in read_espdl(stage.data).operators]
    tables = [int(operator.attributes.get("int16_lut_step", 0)) for operator in operators if operator.type == "LUT"]
    return max([2, *tables])


def mac_shifts(quantized: QuantizedModel) -> Proof:
    """No output is finer than the accumulator that it comes from: ESP-DL shifts to the right only."""
    wrong = []
    for stage in quantized.stages:
        file = read_espdl(stage.data)
        wrong += [
            f"{op.type} {op.name!r} of stage {stage.name!r}"
            for op in file.operators
            if op.type in _SHIFTED and _shift(file, op) < 0
        ]
    return Proof(
        "shifts of accumulators are not negative",
        len(wrong),
        0,
        not wrong,
        "; ".join(wrong[:3]),
        "Calibrate with recordings that use the layer's whole range.",
    )


def _shift(file: EspdlModel, operator: Operator) -> int:
    first, second, output = (_exponents(file, name) for name in (*operator.inputs[:2], operator.outputs[0]))
    return min(output) - max(first) - max(second)


def _exponents(file: EspdlModel, name: str) -> tuple[int, ...]:
    exponent = file.tensors[name].exponent
    return (exponent,) if isinstance(exponent, int) else exponent
