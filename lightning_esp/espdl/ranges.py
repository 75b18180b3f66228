"""Integers that a tensor can hold at all: what is known of a model's inputs, carried through its operators.

Every operator that is handled here is monotone in each of its inputs, or a function of one value, so its own kernel, run
at the ends of the ranges or on each value, gives the ends of its output. Of any other the whole type is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import numpy as np

from lightning_esp.espdl.espdl_model import Array
from lightning_esp.espdl.interpreter import EspdlInterpreter, Instruction
from lightning_esp.espdl.kernels import activation, conversion, movement, pooling
from lightning_esp.espdl.kernels.node import Node

Range = tuple[int, int]

_POINTWISE = {*activation.KERNELS, *conversion.KERNELS} - {"PRelu"}
_MONOTONE = {
    *movement.KERNELS,
    *pooling.KERNELS,
    "Add",
    "Sub",
    "Mul",
    "ReduceMean",
    "ReduceSum",
    "ReduceMax",
    "ReduceMin",
}


def whole_range(dtype: np.dtype[Any]) -> Range:
    """Return the smallest and the largest value of an integer type."""
    limits = np.iinfo(dtype)
    return int(limits.min), int(limits.max)


def value_ranges(interpreter: EspdlInterpreter, known: Mapping[str, Range]) -> dict[str, Range]:
    """Find the smallest and the largest integer that each tensor of a model may hold.

    Args:
        interpreter: The model.
        known: The ranges of its inputs, explicit caches included; those left out may hold all of their type.

    Returns:
        The range of every integer tensor that is no parameter, by name.
    """
    tensors = interpreter.model.tensors
    found = {name: whole_range(tensors[name].dtype) for name in interpreter.model.inputs if _is_integer(tensors[name])}
    found.update(known)
    for item in interpreter.instructions:
        outputs = _run(interpreter, item, found)
        for tensor in item.node.outputs:
            if tensor is not None and _is_integer(tensor):
                found[tensor.name] = outputs.get(tensor.name, whole_range(tensor.dtype))
    return found


def _is_integer(tensor: Any) -> bool:
    return bool(tensor.dtype.kind == "i")


def _run(interpreter: EspdlInterpreter, item: Instruction, found: Mapping[str, Range]) -> dict[str, Range]:
    node = item.node
    changing = [tensor.name for tensor in node.inputs if tensor is not None and tensor.data is None]
    if any(name not in found for name in changing):
        return {}
    if item.cache is not None:
        low, high = found[changing[0]]
        return {node.output.name: (min(low, 0), max(high, 0))}
    if node.operator.type in ("Conv", "Gemm", "MatMul"):
        # Whatever a sum is, what leaves it is not negative behind a ReLU.
        relu = node.attribute("activation", "Linear") == "Relu"
        return {node.output.name: (0, whole_range(node.output.dtype)[1])} if relu else {}
    if node.operator.type in _POINTWISE:
        return _join(node, [_compute(item, [_each(node, found[changing[0]]), *_parameters(interpreter, node)])])
    if node.operator.type not in _MONOTONE:
        return {}
    return _join(node, [_compute(item, values) for values in _corners(interpreter, node, found)])


def _compute(item: Instruction, values: list[Array]) -> tuple[Array, ...]:
    assert item.run is not None
    return item.run(values)


def _each(node: Node, span: Range) -> Array:
    """All values of a range, as a batch."""
    values = np.arange(span[0], span[1] + 1).astype(node.input(0).dtype)
    return values.reshape(-1, *(1,) * len(node.input(0).shape))


def _parameters(interpreter: EspdlInterpreter, node: Node) -> list[Array]:
    return [_fill(interpreter, node, index, {}, {}) for index in range(1, len(node.inputs))]


def _corners(interpreter: EspdlInterpreter, node: Node, found: Mapping[str, Range]) -> Iterator[list[Array]]:
    """Inputs that lie at the ends of their ranges: in all ways for two, for more all low and all high."""
    changing = [index for index, tensor in enumerate(node.inputs) if tensor is not None and tensor.data is None]
    ways = product((0, 1), repeat=len(changing)) if len(changing) <= 2 else iter([(e,) * len(changing) for e in (0, 1)])
    for way in ways:
        ends = dict(zip(changing, way, strict=True))
        yield [_fill(interpreter, node, index, found, ends) for index in range(len(node.inputs))]


def _fill(
    interpreter: EspdlInterpreter, node: Node, index: int, found: Mapping[str, Range], ends: Mapping[int, int]
) -> Array:
    tensor = node.inputs[index]
    if tensor is None:
        return np.zeros((1, 0), np.int8)
    if index not in ends:
        return interpreter.constants[tensor.name]
    return np.full((1, *tensor.shape), found[tensor.name][ends[index]], tensor.dtype)


def _join(node: Node, results: list[tuple[Array, ...]]) -> dict[str, Range]:
    return {
        tensor.name: (min(int(r[index].min()) for r in results), max(int(r[index].max()) for r in results))
        for index, tensor in enumerate(node.outputs)
        if tensor is not None and _is_integer(tensor)
    }
