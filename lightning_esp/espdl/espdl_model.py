"""Contents of an `.espdl` file, as plain frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Tensor:
    """One tensor: an activation (no data), a parameter, or an embedded test value.

    Attributes:
        name: Name in the file.
        shape: Shape. For a packed weight the shape of `data`, that is, after unpacking.
        dtype: numpy dtype of the stored values (`tensor.dtype == "int8"` works).
        exponent: The value of integer q is q * 2^exponent; one int, or one per output channel as a tuple.
        data: Values of a parameter or test value; None for an activation. Weights of `Conv` are unpacked to
            (out, in / groups, *kernel), those of `Gemm` to (in, out), those of `MatMul` to (..., in, out).
        layout: The packing that the file names for a parameter, such as `(N/16)HWC16`; "" for activations,
            `UNK` where the file says nothing.
        file_shape: Shape as written in the file (differs from `shape` for packed weights only).
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    exponent: int | tuple[int, ...] = 0
    data: Array | None = field(default=None, repr=False)
    layout: str = ""
    file_shape: tuple[int, ...] = ()

    @property
    def is_parameter(self) -> bool:
        """Tell whether the file holds values for this tensor."""
        return self.data is not None

    def dequantize(self, values: Array | None = None) -> Array:
        """Turn integers of this tensor into float32 values.

        Args:
            values: Integers in this tensor's layout, or None for its own data.

        Returns:
            float32 array of the same shape; float tensors come back unchanged.
        """
        integers = self.data if values is None else values
        assert integers is not None, f"{self.name} has no data of its own"
        if self.dtype.kind == "f":
            return np.asarray(integers)
        exponent = self.exponent if isinstance(self.exponent, int) else np.asarray(self.exponent, dtype=np.int32)
        return np.ldexp(np.asarray(integers, dtype=np.float32), exponent)

    def __str__(self) -> str:
        shape = "x".join(map(str, self.shape)) or "scalar"
        exponent = self.exponent
        if isinstance(exponent, tuple):
            exponent_text = f"2^[{min(exponent)}..{max(exponent)}] per channel"
        else:
            exponent_text = f"2^{exponent}" if self.dtype.kind == "i" else ""
        layout = self.layout if self.layout not in ("", "UNK") else ""
        return " ".join(part for part in (f"{self.name}:", str(self.dtype), shape, exponent_text, layout) if part)


@dataclass(frozen=True, eq=False)
class Operator:
    """One node of the graph, in execution order.

    Attributes:
        name: Name in the file.
        type: Operator type, such as `Conv`.
        attributes: Attribute values: int, float, str, tuple of int, float or str, or a numpy array.
        inputs: Input tensor names in order; "" stands for an optional input that is left out.
        outputs: Output tensor names in order; "" for one that is left out.
    """

    name: str
    type: str
    attributes: Mapping[str, Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def __str__(self) -> str:
        attributes = ", ".join(f"{key}={value!r}" for key, value in sorted(self.attributes.items()))
        options = f" [{attributes}]" if attributes else ""
        return f"{', '.join(self.outputs)} = {self.type}({', '.join(self.inputs)}){options}"


@dataclass(frozen=True, eq=False)
class EspdlModel:
    """One model of an `.espdl` file; `print(model)` lists it.

    Attributes:
        name: Name of the graph.
        version: The `model_version` that the exporter was given.
        operators: Operators in execution order.
        tensors: Every tensor by name: activations, parameters, look-up tables.
        inputs: Names of the graph's inputs in file order.
        outputs: Names of the graph's outputs in file order.
        metadata: Key/value text that the exporter was given.
        test_inputs: Input values embedded by esp-ppq, by name; empty where none were exported.
        test_outputs: The outputs that esp-ppq computed from `test_inputs`.
        producer: Producer name and version as written in the file.
    """

    name: str
    version: int
    operators: tuple[Operator, ...]
    tensors: Mapping[str, Tensor]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    metadata: Mapping[str, str]
    test_inputs: Mapping[str, Tensor]
    test_outputs: Mapping[str, Tensor]
    producer: str = ""

    def __str__(self) -> str:
        parameters = [tensor for tensor in self.tensors.values() if tensor.data is not None]
        sizes = sum(tensor.data.nbytes for tensor in parameters if tensor.data is not None)
        sections = {
            f"model {self.name} (version {self.version}, {len(self.operators)} operators, {sizes} parameter bytes)": [],
            "inputs": [str(self.tensors[name]) for name in self.inputs],
            "outputs": [str(self.tensors[name]) for name in self.outputs],
            "operators": [str(operator) for operator in self.operators],
            "parameters": [str(tensor) for tensor in parameters],
            "metadata": [f"{key}: {value}" for key, value in self.metadata.items()],
        }
        return "\n".join("\n  ".join([title, *lines]) for title, lines in sections.items())
