"""One operator together with everything the file says about it: what a kernel is built from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from lightning_esp.errors import EspdlOperatorError
from lightning_esp.espdl.arithmetic import ChipRules, power_of_two
from lightning_esp.espdl.espdl_model import Array, EspdlModel, Operator, Tensor

Values = Sequence[Array]
"""Input arrays of a kernel, each with a leading batch axis in front of the file's shape; parameters have batch 1."""

Kernel = Callable[[Values], tuple[Array, ...]]
"""A prepared operator: input arrays in, output arrays out."""

_T = TypeVar("_T")


@dataclass(frozen=True, eq=False)
class Node:
    """An operator with its tensors.

    Attributes:
        operator: The operator.
        inputs: Its input tensors; None for an optional input that is left out.
        outputs: Its output tensors; None for one that is left out. Their shapes are not to be relied on.
        table: The look-up table that the operator's `lut` attribute names, if any.
        rules: Rounding of the chip.
    """

    operator: Operator
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor | None, ...]
    table: Tensor | None
    rules: ChipRules

    def attribute(self, name: str, default: _T) -> _T:
        """Return an attribute of the operator, or the default that ESP-DL uses where the file has none."""
        value: _T = self.operator.attributes.get(name, default)
        return value

    def input(self, index: int) -> Tensor:
        """Return a required input tensor."""
        tensor = self.optional_input(index)
        if tensor is None:
            raise self.refuse(f"input {index} is missing")
        return tensor

    def optional_input(self, index: int) -> Tensor | None:
        """Return an input tensor, or None where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def parameter(self, index: int) -> Array:
        """Return the stored values of an input that must be a parameter."""
        data = self.input(index).data
        if data is None:
            raise self.refuse(f"input {index} ({self.input(index).name}) must be stored in the file")
        return data

    def optional_parameter(self, index: int) -> Array | None:
        """Return the stored values of an input, or None where it is left out."""
        return None if self.optional_input(index) is None else self.parameter(index)

    @property
    def output(self) -> Tensor:
        """The first output tensor."""
        tensor = self.outputs[0]
        if tensor is None:
            raise self.refuse("its first output is missing")
        return tensor

    def exponent(self, tensor: Tensor) -> int:
        """Return the one exponent of a tensor that can't be per channel here."""
        if not isinstance(tensor.exponent, int):
            raise self.refuse(f"{tensor.name} has one exponent per channel, which ESP-DL reads for weights only")
        return tensor.exponent

    def scale(self, tensor: Tensor) -> np.float32:
        """Return the value of one step of a tensor."""
        return power_of_two(self.exponent(tensor))

    def rescale(self, tensor: Tensor) -> np.float32:
        """Return the steps of a tensor per unit."""
        return power_of_two(-self.exponent(tensor))

    def refuse(self, reason: str) -> EspdlOperatorError:
        """Make the exception that refuses this operator."""
        return EspdlOperatorError(
            f"{self.operator.type} {self.operator.name or self.operator.outputs[0]!r} (output "
            f"{', '.join(self.operator.outputs)}): {reason}."
        )


def make_node(model: EspdlModel, operator: Operator, rules: ChipRules, shapes: Mapping[str, tuple[int, ...]]) -> Node:
    """Collect an operator's tensors.

    Args:
        model: The model that the operator belongs to.
        operator: The operator.
        rules: Rounding of the chip.
        shapes: Shapes that ESP-DL computes when it loads the model. esp-ppq writes shapes of its own for tensors
            between operators, not always rightly, and ESP-DL does not read them.

    Raises:
        EspdlOperatorError: The file names a tensor that it does not describe.
    """

    def find(name: str) -> Tensor | None:
        if name and name not in model.tensors:
            raise EspdlOperatorError(
                f"{operator.type} {operator.name!r}: the file does not describe its tensor {name!r}; export it again."
            )
        if not name:
            return None
        tensor = model.tensors[name]
        return replace(tensor, shape=shapes[name]) if name in shapes else tensor

    table = operator.attributes.get("lut")
    return Node(
        operator, tuple(map(find, operator.inputs)), tuple(map(find, operator.outputs)), find(table or ""), rules
    )


def require_same_exponent(node: Node, first: Tensor, second: Tensor, consequence: str) -> None:
    """Refuse an operator whose kernel ignores exponents where they differ.

    Args:
        node: The operator.
        first: A tensor.
        second: Another one.
        consequence: What ESP-DL would do.

    Raises:
        EspdlOperatorError: The exponents or types differ.
    """
    if first.exponent != second.exponent or first.dtype != second.dtype:
        raise node.refuse(
            f"{first.name} ({first.dtype}, exponent {first.exponent}) and {second.name} ({second.dtype}, exponent "
            f"{second.exponent}) differ, and {consequence}"
        )


def positive_axis(axis: int, rank: int) -> int:
    """Return an axis of the file's shape as an axis of the batched array."""
    return (axis + rank if axis < 0 else axis) + 1


def is_parameter(tensor: Tensor | None) -> bool:
    """Tell whether the file holds this tensor's values."""
    return tensor is not None and tensor.data is not None


KernelBuilder = Callable[[Node], Kernel]
KernelTable = Mapping[str, KernelBuilder]


def elementwise(function: Callable[[Array], Array]) -> Kernel:
    """Make a kernel with one input and one output."""

    def run(values: Values) -> tuple[Array, ...]:
        return (function(values[0]),)

    return run


def tabulated(node: Node, function: Callable[[Array], Array]) -> Kernel:
    """Make a kernel with one input and one output; of int8 values a table is made once.

    Args:
        node: The operator.
        function: What it computes, value by value.
    """
    if node.input(0).dtype != np.int8:
        return elementwise(function)
    table = function(np.arange(-128, 128, dtype=np.int16).astype(np.int8))
    return look_up(table)


def look_up(table: Array) -> Kernel:
    """Make a kernel of a table with one entry for each int8 value from -128 on."""
    rolled = np.roll(table.reshape(-1), -128)
    return elementwise(lambda values: np.take(rolled, values.view(np.uint8)))


def attribute_ints(value: Any) -> tuple[int, ...]:
    """Return an attribute that may be one int or several as a tuple."""
    return (int(value),) if isinstance(value, (int, np.integer)) else tuple(int(item) for item in value)


def same_rank(first: Array, second: Array) -> tuple[Array, Array]:
    """Give two batched arrays one rank: batch first, then the file's shape, filled up from the left."""
    rank = max(first.ndim, second.ndim)

    def widen(array: Array) -> Array:
        return array.reshape(array.shape[0], *(1,) * (rank - array.ndim), *array.shape[1:])

    return widen(first), widen(second)
