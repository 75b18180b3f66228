"""Read an `.espdl` file into plain data."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from lightning_esp.errors import EspdlFormatError
from lightning_esp.espdl.container import unpack_container
from lightning_esp.espdl.damage import check_tensors
from lightning_esp.espdl.espdl_model import Array, EspdlModel, Operator, Tensor
from lightning_esp.espdl.flatbuffer_schema import schema_class
from lightning_esp.espdl.weights import unpack_conv, unpack_depthwise, unpack_matrix
from lightning_esp.options import check_arguments
from lightning_esp.versions import ESP_PPQ

_DTYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
}
_FLOAT, _INT, _STRING, _TENSOR, _FLOATS, _INTS, _STRINGS = 1, 2, 3, 4, 6, 7, 8
_DAMAGE = (struct.error, IndexError, ValueError, TypeError, AttributeError, UnicodeDecodeError, OverflowError)


def read_espdl(source: str | PathLike[str] | bytes, model: str | int = 0) -> EspdlModel:
    """Read one model of an `.espdl` file.

    Args:
        source: Path of the file, or its bytes.
        model: Which model of a packed file: its position or its name. The first one by default, as in ESP-DL.

    Returns:
        The model as frozen dataclasses; weights are unpacked to a plain order (see `Tensor`).

    Raises:
        EspdlFormatError: The file is truncated, encrypted, foreign or newer, or the pack has no such model.
        FileNotFoundError: The path does not exist.

    Example:
        >>> read_espdl(b"not a model at all")
        Traceback (most recent call last):
        lightning_esp.errors.EspdlFormatError: <bytes>: not an .espdl file: it begins with b'not ', ...
    """
    check_arguments(read_espdl, source=source, model=model)
    data, origin = _load(source)
    models = unpack_container(data, origin)
    names = list(models)
    wanted = names[model] if isinstance(model, int) and 0 <= model < len(names) else model
    if wanted not in models:
        raise EspdlFormatError(f"{origin}: it has no model {model!r}; it holds {names}. Pass model= one of them.")
    return _parse(models[str(wanted)], f"{origin}[{wanted}]" if wanted else origin)


def list_models(source: str | PathLike[str] | bytes) -> tuple[str, ...]:
    """Return the names of the models in a packed file, in order; a single file has the one name "".

    Args:
        source: Path of the file, or its bytes.

    Raises:
        EspdlFormatError: The file is truncated, encrypted, foreign or newer.
    """
    return tuple(unpack_container(*_load(source)))


def _load(source: str | PathLike[str] | bytes) -> tuple[bytes, str]:
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source), "<bytes>"
    return Path(source).read_bytes(), str(source)


# Models are frozen, and an export reads each of its few files many times.
@lru_cache(maxsize=8)
def _parse(data: bytes, origin: str) -> EspdlModel:
    try:
        return _read_model(data, origin)
    except _DAMAGE as error:
        raise EspdlFormatError(
            f"{origin}: damaged: the flatbuffer can't be followed ({type(error).__name__}: {error}). Export it again."
        ) from error


def _read_model(data: bytes, origin: str) -> EspdlModel:
    root = schema_class("Model").GetRootAs(data, 0)
    graph = root.Graph()
    if graph is None or graph.NodeLength() == 0:
        raise EspdlFormatError(f"{origin}: the file holds no graph, or one without operators.")
    operators = tuple(_read_operator(node, origin) for node in _each(graph.Node, graph.NodeLength()))
    infos = [_read_info(info, origin) for info in _each(graph.ValueInfo, graph.ValueInfoLength())]
    inputs = [_read_info(info, origin) for info in _each(graph.Input, graph.InputLength())]
    outputs = [_read_info(info, origin) for info in _each(graph.Output, graph.OutputLength())]
    parameters = [_read_tensor(item, origin) for item in _each(graph.Initializer, graph.InitializerLength())]
    tensors = {tensor.name: tensor for tensor in (*infos, *inputs, *outputs)}
    readers = {name: operator for operator in operators for name in operator.inputs[1:2]}
    tensors |= {each.name: _unpack_weight(each, readers.get(each.name), origin) for each in parameters}
    check_tensors(tensors, origin)
    return EspdlModel(
        name=_text(graph.Name()),
        version=int(root.ModelVersion()),
        operators=operators,
        tensors=tensors,
        inputs=tuple(tensor.name for tensor in inputs if not tensors[tensor.name].is_parameter),
        outputs=tuple(tensor.name for tensor in outputs),
        metadata={
            _text(item.Key()): _text(item.Value()) for item in _each(root.MetadataProps, root.MetadataPropsLength())
        },
        test_inputs=_read_values(graph.TestInputsValue, graph.TestInputsValueLength(), origin),
        test_outputs=_read_values(graph.TestOutputsValue, graph.TestOutputsValueLength(), origin),
        producer=f"{_text(root.ProducerName())} {_text(root.ProducerVersion())}".strip(),
    )


def _each(item: Callable[[int], Any], count: int) -> Iterable[Any]:
    return (item(index) for index in range(count))


def _text(value: bytes | str | None) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else value or ""


def _read_values(item: Callable[[int], Any], count: int, origin: str) -> dict[str, Tensor]:
    tensors = (_read_tensor(value, origin) for value in _each(item, count))
    return {tensor.name: tensor for tensor in tensors}


def _read_dtype(code: int, name: str, origin: str) -> np.dtype[Any]:
    if code not in _DTYPES:
        raise EspdlFormatError(
            f"{origin}: tensor {name!r} has data type {code}, which this package does not know: the file is newer, "
            f"or holds strings. Export it with esp-ppq {ESP_PPQ}."
        )
    return np.dtype(_DTYPES[code])


def _read_exponent(table: Any) -> int | tuple[int, ...]:
    exponents = tuple(int(table.Exponents(index)) for index in range(table.ExponentsLength()))
    if len(exponents) > 1:
        return exponents
    return exponents[0] if exponents else 0


def _read_info(info: Any, origin: str) -> Tensor:
    name = _text(info.Name())
    described = schema_class("TensorTypeAndShape")()
    value = info.ValueInfoType().Value()
    described.Init(value.Bytes, value.Pos)
    shape = described.Shape()
    dims = () if shape is None else tuple(int(d.Value().DimValue()) for d in _each(shape.Dim, shape.DimLength()))
    dtype = _read_dtype(described.ElemType(), name, origin)
    return Tensor(name=name, shape=dims, dtype=dtype, exponent=_read_exponent(info), file_shape=dims)


def _read_tensor(table: Any, origin: str) -> Tensor:
    name = _text(table.Name())
    dims = tuple(int(table.Dims(index)) for index in range(table.DimsLength()))
    dtype = _read_dtype(table.DataType(), name, origin)
    data = _read_data(table, dtype, dims, f"{origin}: tensor {name!r}")
    layout = _text(table.DocString()).removeprefix("layout ==> ")
    return Tensor(name, dims, dtype, _read_exponent(table), data, layout, dims)


def _read_data(table: Any, dtype: np.dtype[Any], dims: tuple[int, ...], what: str) -> Array:
    count = math.prod(dims)
    if count == 0:
        return np.zeros(dims, dtype)
    if table.RawDataIsNone() or 16 * table.RawDataLength() < count * dtype.itemsize:
        raise EspdlFormatError(f"{what} of shape {dims} and type {dtype} has too little data: the file is damaged.")
    # The vector holds 16-byte structs; its first element's position is where the bytes begin.
    start = table.RawData(0)._tab
    values = np.frombuffer(start.Bytes, dtype=dtype, count=count, offset=start.Pos).reshape(dims).copy()
    values.setflags(write=False)
    return values


def _read_operator(node: Any, origin: str) -> Operator:
    name, kind = _text(node.Name()), _text(node.OpType())
    attributes = {
        _text(item.Name()): _read_attribute(item, f"{origin}: {kind} {name!r}")
        for item in _each(node.Attribute, node.AttributeLength())
    }
    inputs = tuple(_text(item) for item in _each(node.Input, node.InputLength()))
    outputs = tuple(_text(item) for item in _each(node.Output, node.OutputLength()))
    return Operator(name, kind, attributes, inputs, outputs)


def _read_attribute(item: Any, what: str) -> Any:
    kind = item.AttrType()
    if kind == _FLOAT:
        return float(item.F().F())
    if kind == _INT:
        return int(item.I().I())
    if kind == _STRING:
        return item.SAsNumpy().tobytes().decode("utf-8")
    if kind == _TENSOR:
        return _read_tensor(item.T(), what).data
    if kind == _FLOATS:
        return tuple(float(item.Floats(index)) for index in range(item.FloatsLength()))
    if kind == _INTS:
        return tuple(int(item.Ints(index)) for index in range(item.IntsLength()))
    if kind == _STRINGS:
        return tuple(_text(item.Strings(index)) for index in range(item.StringsLength()))
    raise EspdlFormatError(f"{what}: attribute {_text(item.Name())!r} has the unknown type {kind}: the file is newer.")


def _unpack_weight(tensor: Tensor, reader: Operator | None, origin: str) -> Tensor:
    if reader is None or tensor.layout in ("", "UNK") or tensor.data is None or tensor.data.ndim < 2:
        return tensor
    try:
        plain = _unpack_for(reader, tensor.data, tensor.layout)
    except EspdlFormatError as error:
        raise EspdlFormatError(f"{origin}: {reader.type} {reader.name!r}, tensor {tensor.name!r}: {error}") from None
    plain.setflags(write=False)
    return Tensor(tensor.name, plain.shape, tensor.dtype, tensor.exponent, plain, tensor.layout, tensor.file_shape)


def _unpack_for(reader: Operator, data: Array, layout: str) -> Array:
    if reader.type == "Conv":
        grouped = int(reader.attributes.get("group", 1)) != 1
        return unpack_depthwise(data, layout) if grouped else unpack_conv(data, layout, grouped=False)
    if reader.type == "Gemm":
        return unpack_matrix(data, layout).reshape(data.shape[-2:])
    if reader.type == "MatMul":
        return unpack_matrix(data, layout)
    return data.copy()
