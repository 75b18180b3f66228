"""An ONNX graph that passes look into and edit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import NodeProto, numpy_helper

from lightning_esp.errors import QuantizationError
from lightning_esp.quantization.job import Array

Attribute = int | float | str | Sequence[int] | Sequence[float]


class Graph:
    """The graph of a model, whose shapes are all known.

    A new node is named after the one that it stands for, so that it keeps the path of its module:
    `/stages.0/a.1/AveragePool` becomes `/stages.0/a.1/AveragePool_Mul`. Inputs and outputs of the graph keep their names.

    Args:
        model: the model; edited in place.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = model.graph
        self._names = {node.name for node in model.graph.node} | {
            name for node in model.graph.node for name in node.output
        }
        self._names |= {tensor.name for tensor in [*model.graph.initializer, *model.graph.input]}
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        values = [*inferred.value_info, *inferred.input, *inferred.output]
        fixed = [value for value in values if _is_fixed(value.type.tensor_type)]
        self._shapes = {value.name: tuple(d.dim_value for d in value.type.tensor_type.shape.dim) for value in fixed}
        self._shapes |= {tensor.name: tuple(tensor.dims) for tensor in inferred.initializer}
        self._kinds = {value.name: value.type.tensor_type.elem_type for value in values}

    @property
    def nodes(self) -> tuple[NodeProto, ...]:
        """All nodes, each behind those that it reads."""
        return tuple(self._graph.node)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of what enters the graph."""
        return tuple(value.name for value in self._graph.input)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what leaves the graph."""
        return tuple(value.name for value in self._graph.output)

    def shape(self, tensor: str) -> tuple[int, ...]:
        """The shape of a tensor, batch included.

        Raises:
            QuantizationError: it cannot be told from the graph.
        """
        if tensor not in self._shapes:
            raise QuantizationError(
                f"the shape of tensor {tensor!r} cannot be told from the graph. Return a tensor whose shape does not depend on "
                "values."
            )
        return self._shapes[tensor]

    def kind(self, tensor: str) -> int | None:
        """The type of a tensor's elements, a number of `onnx.TensorProto`; None where it cannot be told."""
        return self._kinds.get(tensor)

    def constant(self, tensor: str) -> Array | None:
        """The value of a constant; None where it is computed from the inputs."""
        found = [value for value in self._graph.initializer if value.name == tensor]
        source = self.source(tensor)
        if source is not None and source.op_type == "Constant":
            found = [item.t for item in source.attribute if item.name == "value"]
        return np.asarray(numpy_helper.to_array(found[0])) if found else None

    def source(self, tensor: str) -> NodeProto | None:
        """The node that computes a tensor; None for inputs and constants."""
        return next((node for node in self._graph.node if tensor in node.output), None)

    def readers(self, tensor: str) -> tuple[NodeProto, ...]:
        """The nodes that read a tensor."""
        return tuple(node for node in self._graph.node if tensor in node.input)

    def add_constant(self, near: NodeProto, value: Array, kind: str = "constant") -> str:
        """Add a constant, named after a node.

        Returns:
            Its name.
        """
        name = self._new_name(near, kind)
        self._graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        self._shapes[name] = tuple(value.shape)
        return name

    def make(
        self, near: NodeProto, kind: str, inputs: Sequence[str], output: str = "", **options: Attribute
    ) -> NodeProto:
        """Make a node of one output, which is no part of the graph yet; see `replace`.

        Args:
            near: the node that it is named after.
            kind: its operator.
            inputs: what it reads.
            output: what it writes; a new tensor where none is named.
            **options: its attributes.
        """
        name = self._new_name(near, kind)
        return onnx.helper.make_node(kind, list(inputs), [output or f"{name}_output_0"], name=name, **options)

    def replace(self, node: NodeProto, nodes: Sequence[NodeProto]) -> None:
        """Put nodes in the place of one; the last ones write what it wrote. With none, it is removed."""
        index = next(i for i, found in enumerate(self._graph.node) if found is node or found == node)
        del self._graph.node[index]
        for offset, new in enumerate(nodes):
            self._graph.node.insert(index + offset, new)

    def redirect(self, tensor: str, to: str) -> None:
        """Let every reader of a tensor read another one."""
        for node in self._graph.node:
            node.input[:] = [to if name == tensor else name for name in node.input]

    def prune(self) -> None:
        """Remove the nodes and constants that nothing reads."""
        read = set(self.outputs)
        for node in reversed(self.nodes):
            if read.isdisjoint(node.output):
                self.replace(node, [])
            else:
                read.update(node.input)
        kept = [tensor for tensor in self._graph.initializer if tensor.name in read]
        del self._graph.initializer[:]
        self._graph.initializer.extend(kept)

    def _new_name(self, near: NodeProto, kind: str) -> str:
        base = near.name if kind == near.op_type else f"{near.name}_{kind}"
        name, count = base, 1
        while name in self._names:
            count += 1
            name = f"{base}_{count}"
        self._names.add(name)
        return name


def _is_fixed(tensor: onnx.TypeProto.Tensor) -> bool:
    return tensor.HasField("shape") and all(size.HasField("dim_value") for size in tensor.shape.dim)


def attributes(node: NodeProto) -> dict[str, object]:
    """The attributes of a node as Python values; text as `str`."""
    found = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in found.items()}
