"""Proof 4: what the chip computes rightly, from bytes that are still there; other operators are refused with the file."""

from __future__ import annotations

import numpy as np

from lightning_esp.espdl import (
    EspdlInterpreter,
    EspdlModel,
    Hazard,
    Operator,
    Program,
    Step,
    check_memory,
    program_of,
    read_espdl,
)
from lightning_esp.quantization import QuantizedModel, module_path
from lightning_esp.simulation import IntegerPipeline
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
    # A weight may have one exponent per channel.
    names = (*operator.inputs[:2], operator.outputs[0])
    first, second, output = (np.atleast_1d(file.tensors[name].exponent) for name in names)
    return int(output.min() - first.max() - second.max())


def memory(files: IntegerPipeline) -> Proof:
    """Prove that no read finds bytes that others have overwritten, in the memory that ESP-DL plans for each file.

    Args:
        files: the stages, interpreted.
    """
    names, found = [file.name for file in files.files], []
    for name, stream in zip(names, files.streams, strict=True):
        assert isinstance(stream, EspdlInterpreter)
        program = program_of(stream.model, stream.shapes)
        found += [_told(program, hazard, name, names) for hazard in check_memory(program)]
    return Proof(
        "tensors keep their bytes in ESP-DL's memory until they are read",
        len(found),
        0,
        not found,
        "; ".join(found[:3]),
        "Export the model again: the export orders operators and adds views so that ESP-DL overwrites nothing that is read "
        "later, and this file was not made so.",
    )


def _told(program: Program, hazard: Hazard, stage: str, stages: list[str]) -> str:
    writer = _described(program.steps[hazard.writer], stages)
    last = hazard.reader == len(program.steps)
    reader = "the firmware, behind the run," if last else _described(program.steps[hazard.reader], stages)
    return f"stage {stage!r}: {writer} overwrites tensor {hazard.tensor!r}, which {reader} reads later"


def _described(step: Step, stages: list[str]) -> str:
    return f"{step.type} {step.name!r} of module {module_path(step.name, stages)!r}"
