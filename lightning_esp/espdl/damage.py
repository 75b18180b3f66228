"""The edge of the interpreter: what a damaged file makes numpy raise reaches the caller as an error of this package."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from lightning_esp.errors import EspdlError, EspdlFormatError, EspdlOperatorError
from lightning_esp.espdl.espdl_model import EspdlModel, Operator, Tensor

# More than any chip addresses: 32 MiB of PSRAM hold fewer values, and no scale of a network is beyond 2^127.
_MOST_VALUES, _LARGEST_EXPONENT = 1 << 26, 127
FOREIGN = (ArithmeticError, LookupError, TypeError, ValueError, AttributeError, AssertionError, MemoryError)


def check_tensors(tensors: dict[str, Tensor], origin: str) -> None:
    """Refuse shapes and exponents that no chip could hold, before anything is allocated by them.

    Args:
        tensors: The tensors of a file by name.
        origin: What messages call the file.

    Raises:
        EspdlFormatError: A tensor has a negative length, too many values, or an exponent beyond float32.
    """
    for tensor in tensors.values():
        if any(size < 0 for size in tensor.shape) or math.prod(tensor.shape) > _MOST_VALUES:
            raise EspdlFormatError(
                f"{origin}: tensor {tensor.name!r} has the shape {tensor.shape}, which no chip could hold: the file is "
                "damaged. Export it again."
            )
        exponents = (tensor.exponent,) if isinstance(tensor.exponent, int) else tensor.exponent
        if any(abs(exponent) > _LARGEST_EXPONENT for exponent in exponents):
            raise EspdlFormatError(
                f"{origin}: tensor {tensor.name!r} has an exponent beyond 2^±{_LARGEST_EXPONENT}: the file is damaged. "
                "Export it again."
            )


def check_order(model: EspdlModel) -> None:
    """Refuse a graph in which a tensor is read before anything has made it.

    Raises:
        EspdlError: An operator reads, or the graph gives out, what no input, parameter or earlier operator makes.
    """
    made = {*model.inputs, *(name for name, tensor in model.tensors.items() if tensor.data is not None), ""}
    for operator in model.operators:
        missing = next((name for name in operator.inputs if name not in made), None)
        if missing is not None:
            raise EspdlOperatorError(
                f"{_title(operator)}: nothing before it makes its input {missing!r}: the file is damaged. Export it again."
            )
        if not any(operator.outputs):
            raise EspdlOperatorError(f"{_title(operator)}: it has no output: the file is damaged. Export it again.")
        made.update(operator.outputs)
    lost = [name for name in model.outputs if name not in made or not name]
    if lost or not model.outputs:
        raise EspdlError(
            f"The model's outputs are {list(model.outputs)}, and nothing makes {lost}: the file is damaged. Export it again."
        )


@contextmanager
def computing(operator: Operator) -> Iterator[None]:
    """Turn what numpy raises over impossible shapes and attributes into an error that names the operator.

    Args:
        operator: What is prepared or run.

    Raises:
        EspdlOperatorError: Anything was raised that is not an error of this package.
    """
    try:
        yield
    except FOREIGN as error:
        raise misfit(operator, error) from error


def misfit(operator: Operator, error: Exception) -> EspdlOperatorError:
    """Return the error of an operator over which numpy has raised one of `FOREIGN`."""
    return EspdlOperatorError(
        f"{_title(operator)}: its tensors and attributes do not fit each other ({type(error).__name__}: "
        f"{str(error)[:200]}): the file is damaged. Export it again, and report it if it is as esp-ppq wrote it."
    )


def _title(operator: Operator) -> str:
    return f"{operator.type} {operator.name or ', '.join(operator.outputs)!r}"
