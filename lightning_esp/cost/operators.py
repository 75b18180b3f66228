"""Work and traffic of the operators of an `.espdl` file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from lightning_esp.cost.work import Work, convolution, copy, pool, recurrent
from lightning_esp.espdl import EspdlModel, Operator, Tensor, plan_memory, program_of

# Operators that move data and compute nothing.
MOVERS = ("Transpose", "Concat", "Slice", "StreamingCache", "RequantizeLinear", "Pad", "Split", "Gather")
# Those that copy whole rows, which is done 16 bytes at once.
_COPIES = ("Concat", "Slice", "StreamingCache", "Split")
_POOLS = ("AveragePool", "MaxPool", "GlobalAveragePool", "GlobalMaxPool")
_RECURRENT = ("GRU", "LSTM")


@dataclass(frozen=True)
class Traffic:
    """Work of a model in one window, and the memory that it keeps.

    Args:
        operators: operators by type.
        moved: bytes that data-movement operators write.
        multiplications: multiplications of convolutions, matrices and recurrent layers.
        parameters: bytes of weights, biases and tables.
        caches: bytes of StreamingCache operators.
        peak: bytes that ESP-DL allocates for all tensors but parameters, as its memory manager plans them.
    """

    operators: Mapping[str, int]
    moved: int
    multiplications: int
    parameters: int
    caches: int
    peak: int


def work_of(model: EspdlModel, operator: Operator) -> Work:
    """The work of one operator."""
    outputs = [model.tensors[name] for name in operator.outputs if name]
    inputs = [model.tensors[name] for name in operator.inputs if name]
    written = sum(map(tensor_bytes, outputs))
    if operator.type in _COPIES:
        return copy(moved_bytes(model, operator))
    if operator.type in ("Conv", "ConvTranspose"):
        return _convolution(operator, inputs[1], outputs[0])
    if operator.type in ("Gemm", "MatMul"):
        last = outputs[0].shape[-1]
        return convolution(inputs[0].shape[-1], last, (), prod(outputs[0].shape) // last, width=_width(outputs[0]))
    if operator.type in _RECURRENT:
        # X, W [directions, gates x hidden, in], R [directions, gates x hidden, hidden].
        widths = [tensor.shape[-1] for tensor in inputs[1:3]]
        return recurrent(prod(inputs[0].shape[:-1]), prod(inputs[1].shape[:-1]), widths, written)
    if operator.type in _POOLS:
        taps = int(prod(operator.attributes.get("kernel_shape", inputs[0].shape[1:-1])))
        return pool(outputs[0].shape[-1], prod(outputs[0].shape[:-1]), taps, written)
    return Work(1, written=written)


def moved_bytes(model: EspdlModel, operator: Operator) -> int:
    """Bytes that a data-movement operator writes, to its outputs and to what it remembers; 0 for any other."""
    if operator.type not in MOVERS:
        return 0
    kept = cache_bytes(model, operator) if operator.type == "StreamingCache" else 0
    return kept + sum(tensor_bytes(model.tensors[name]) for name in operator.outputs if name)


def _convolution(operator: Operator, weight: Tensor, output: Tensor) -> Work:
    channels, group = output.shape[-1], int(operator.attributes.get("group", 1))
    positions = prod(output.shape) // channels
    inputs = weight.shape[0] if operator.type == "ConvTranspose" else weight.shape[1]
    if operator.type == "ConvTranspose":
        # Each input frame reaches every tap once; counted per output frame.
        positions = max(1, positions // max(1, prod(operator.attributes.get("strides", (1,)))))
    work = convolution(inputs, channels, weight.shape[2:], positions, depthwise=group > 1, width=_width(output))
    return Work(1, work.dense, work.depthwise, tensor_bytes(output))


def _width(tensor: Tensor) -> int:
    return int(tensor.dtype.itemsize)


def tensor_bytes(tensor: Tensor) -> int:
    """Bytes of a tensor."""
    return prod(tensor.shape) * _width(tensor)


def cache_bytes(model: EspdlModel, operator: Operator) -> int:
    """Bytes that a StreamingCache operator remembers."""
    source, output = model.tensors[operator.inputs[0]], model.tensors[operator.outputs[0]]
    return tensor_bytes(output) - tensor_bytes(source)


def traffic_of(model: EspdlModel) -> Traffic:
    """Count what a file does in one window."""
    types: dict[str, int] = {}
    for operator in model.operators:
        types[operator.type] = types.get(operator.type, 0) + 1
    caches = [operator for operator in model.operators if operator.type == "StreamingCache"]
    return Traffic(
        operators=types,
        moved=sum(moved_bytes(model, operator) for operator in model.operators),
        multiplications=sum(_multiplications(model, operator) for operator in model.operators),
        parameters=sum(tensor.data.nbytes for tensor in model.tensors.values() if tensor.data is not None),
        caches=sum(cache_bytes(model, operator) for operator in caches),
        peak=plan_memory(program_of(model)).size,
    )


def _multiplications(model: EspdlModel, operator: Operator) -> int:
    output = model.tensors[operator.outputs[0]] if operator.outputs[0] else None
    if output is None or len(operator.inputs) < 2 or not operator.inputs[1]:
        return 0
    weight = model.tensors[operator.inputs[1]]
    if operator.type in ("Conv", "ConvTranspose"):
        return prod(output.shape) // output.shape[-1] * prod(weight.shape)
    if operator.type in ("Gemm", "MatMul"):
        return prod(output.shape) * model.tensors[operator.inputs[0]].shape[-1]
    if operator.type in _RECURRENT:
        frames = prod(model.tensors[operator.inputs[0]].shape[:-1])
        return frames * sum(prod(model.tensors[name].shape) for name in operator.inputs[1:3])
    return 0
