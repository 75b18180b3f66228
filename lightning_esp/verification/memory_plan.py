"""Proof 4, memory: every tensor is read before ESP-DL writes others over it."""

from __future__ import annotations

from lightning_esp.espdl import EspdlInterpreter, Hazard, Program, Step, check_memory, program_of
from lightning_esp.quantization import module_path
from lightning_esp.simulation import IntegerPipeline
from lightning_esp.verification.proof import Proof


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
