"""The integers of a file's parameters, computed from the user's module as it is now, with gradients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import torch
from torch import Tensor, nn

from lightning_esp.errors import ConversionError
from lightning_esp.espdl import EspdlInterpreter, Node
from lightning_esp.espdl import Tensor as FileTensor
from lightning_esp.quantization import Array, module_path
from lightning_esp.quantization_aware.rounding import rounding_of
from lightning_esp.quantization_aware.sources import Place, find_place

# Values, smallest and largest integer, by operator and operand: `Worker.call("read_parameters", graph)`.
Parameters = Mapping[str, tuple[Array, int, int]]


@dataclass(frozen=True, eq=False)
class Trained:
    """One parameter of a file that training changes.

    Args:
        place: where its values are in the module.
        low: the smallest integer that it may become.
        high: the largest.
    """

    place: Place
    low: int
    high: int


def find_parameters(
    module: nn.Module, file: EspdlInterpreter, parameters: Parameters, stages: list[str]
) -> dict[str, Trained]:
    """Find the parameters of a file in the module that it was made of.

    Args:
        module: has gone through `make_unlike`, and then through the export.
        file: what came of it.
        parameters: float parameters of the graph that the file was written from.
        stages: names of the stages, for messages.

    Returns:
        What training changes, by tensor name; constants are left out.

    Raises:
        ConversionError: a parameter is computed from the module in a form that is not known.
    """
    found: dict[str, Trained] = {}
    for item in file.instructions:
        operator = item.node.operator
        if item.node.table is not None:
            # What it reads beside its input is in its table already.
            continue
        for index, name in enumerate(operator.inputs):
            known = parameters.get(f"{operator.name}|in|{index}")
            tensor = None if not name else file.model.tensors[name]
            if known is None or tensor is None or tensor.data is None or tensor.dtype.kind != "i" or name in found:
                continue
            values, low, high = known
            arranged = _arrange(item.node, tensor, values, low, high)
            place = None if arranged is None else find_place(module, arranged, tensor.shape)
            if place is not None:
                found[name] = Trained(place, low, high)
            elif not _is_constant(values):
                raise ConversionError(
                    f"module {module_path(operator.name, stages)!r}: operand {index} of {operator.type} is computed from its "
                    "parameters in a form that quantization-aware training does not know, so it would not be trained. Compute "
                    "it in the layer that uses it, or train without EspQuantAwareTraining."
                )
    return found


def _is_constant(values: Array) -> bool:
    """Tell whether a parameter may be a number that stands in the code: they are few."""
    return np.unique(values).size <= 1


def _arrange(node: Node, tensor: FileTensor, values: Array, low: int, high: int) -> Array | None:
    """Turn float values of the graph into the layout of the file, by the integers that they became."""
    flat = values.squeeze()
    for axes in permutations(range(flat.ndim)):
        turned = flat.transpose(axes)
        if turned.shape != tuple(size for size in tensor.shape if size != 1):
            continue
        turned = turned.reshape(tensor.shape)
        assert tensor.data is not None
        integers = to_integers(
            torch.from_numpy(np.ascontiguousarray(turned)), node.operator.type, tensor, (low, high), node.rules.target
        )
        if np.array_equal(integers.numpy().astype(np.int64), tensor.data.astype(np.int64)):
            return np.asarray(turned)
    return None


def to_integers(values: Tensor, operator: str, tensor: FileTensor, limits: tuple[int, int], target: str) -> Tensor:
    """Quantize a parameter as esp-ppq does.

    Args:
        values: float32, in the layout of the file.
        operator: type of the operator that reads it.
        tensor: the tensor of the file, for its exponents.
        limits: the smallest and the largest integer.
        target: the chip, for its rounding.

    Returns:
        Whole numbers in float64, in which esp-ppq rounds: a bias of an int16 layer has more than 24 bits.
    """
    exponents = np.asarray(tensor.exponent)
    axis = 0 if operator == "Conv" else values.ndim - 1
    shape = [-1 if index == axis else 1 for index in range(values.ndim)] if exponents.ndim else []
    scale = torch.from_numpy(np.asarray(np.ldexp(1.0, -exponents)).reshape(shape)).to(values.device)
    return rounding_of(target).shift(values.double(), scale, *limits)


def evaluate(
    module: nn.Module, file: EspdlInterpreter, trained: Mapping[str, Trained], dtype: torch.dtype
) -> dict[str, Tensor]:
    """Compute the integers of all parameters of a file that training changes.

    Args:
        module: the user's, as it is now.
        file: the file.
        trained: as `find_parameters` has found them.
        dtype: of the results.

    Returns:
        `[1, *shape in the file]` by tensor name, whole numbers.
    """
    readers = {name: item.node.operator.type for item in file.instructions for name in item.node.operator.inputs}
    return {
        name: to_integers(
            entry.place.compute(module), readers[name], file.model.tensors[name], (entry.low, entry.high), file.target
        ).to(dtype)[None]
        for name, entry in trained.items()
    }
