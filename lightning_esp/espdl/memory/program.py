"""`Program`: a model as ESP-DL's memory manager sees it: operators in order, tensors as numbers of bytes."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from math import prod

from lightning_esp.errors import EspdlFormatError
from lightning_esp.espdl.espdl_model import EspdlModel


class Placing(Enum):
    """Place of an operator's output in ESP-DL 3.3.9."""

    SEPARATE = "a buffer of its own"
    VIEW = "the input's buffer, whose bytes stay"
    OVERWRITE = "the input's buffer, whose bytes it replaces"


_VIEWS = ("Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")
_OVERWRITING = (
    *("Add", "LUT", "Max", "Min", "Mod", "Neg", "PRelu", "ReverseSequence", "ScatterND"),
    *(
        "Clip",
        "Elu",
        "Exp",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "LeakyRelu",
        "Log",
        "Relu",
        "Sigmoid",
        "Sqrt",
        "Swish",
        "Tanh",
    ),
    *("And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "Or", "Xor"),
    *("DequantizeLinear", "QuantizeLinear", "RequantizeLinear"),
    *("LayerNormalization", "LpNormalization", "RMSNormalization"),
    *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd"),
    *("ReduceSum", "ReduceSumSquare"),
)

# No operator changes its mind for a shape or a type; those that are not listed take a buffer of their own.
PLACINGS: Mapping[str, Placing] = {
    **dict.fromkeys(_VIEWS, Placing.VIEW),
    **dict.fromkeys(_OVERWRITING, Placing.OVERWRITE),
}


@dataclass(frozen=True)
class Step:
    """One operator.

    Args:
        name: its name in the file.
        type: its type, which decides the placing.
        inputs: tensors that it reads, in its own order, without parameters.
        outputs: tensors that it writes.
    """

    name: str
    type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def placing(self) -> Placing:
        """Place of its output if the tensor that it would share a buffer with allows it."""
        return PLACINGS.get(self.type, Placing.SEPARATE) if len(self.outputs) == 1 else Placing.SEPARATE


@dataclass(frozen=True)
class Program:
    """A model as the memory manager sees it.

    Args:
        steps: operators in the order of the file, which is the order of execution: ESP-DL does not sort.
        inputs: graph inputs; all are written before a run.
        outputs: graph outputs; all are read behind a run.
        sizes: bytes of each tensor.

    Raises:
        EspdlFormatError: a step reads what none before it writes.
    """

    steps: tuple[Step, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    sizes: Mapping[str, int]

    def __post_init__(self) -> None:
        known = set(self.inputs)
        for step in self.steps:
            _check_known(known, step.inputs, f"operator {step.name!r} reads")
            known.update(step.outputs)
        _check_known(known, self.outputs, "the graph returns")


def _check_known(known: set[str], names: Iterable[str], what: str) -> None:
    missing = [name for name in names if name not in known]
    if missing:
        raise EspdlFormatError(
            f"{what} {missing}, which no operator before writes: the file is damaged. Export it again."
        )


def program_of(model: EspdlModel, shapes: Mapping[str, Sequence[int]] | None = None) -> Program:
    """Read the program of a file.

    Args:
        model: the file.
        shapes: shapes that ESP-DL computes at load, `EspdlInterpreter.shapes`; the file's own where left out.
    """
    written = {*model.inputs, *(name for operator in model.operators for name in operator.outputs if name)}
    steps = tuple(
        Step(op.name or op.outputs[0], op.type, _among(written, op.inputs), _among(written, op.outputs))
        for op in model.operators
    )
    found = {name: model.tensors[name].shape for name in written} | dict(shapes or {})
    sizes = {name: prod(found[name]) * model.tensors[name].dtype.itemsize for name in written}
    return Program(steps, model.inputs, model.outputs, sizes)


def _among(written: Container[str], names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name in written)
