"""AveragePool: ESP-DL divides every sum by the size of the kernel, whatever part of it lies on padding.

esp-ppq says the same: both ignore `count_include_pad=0`, and `ceil_mode`, whose last kernel hangs over the edge.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import cast

import numpy as np
from onnx import NodeProto

from lightning_esp.quantization.job import Array
from lightning_esp.quantization.rewrites.graph import Graph, attributes


@dataclass(frozen=True)
class _Axis:
    """A pool along one axis of `length` elements, `before` and `after` of padding around them."""

    length: int
    kernel: int
    stride: int
    before: int
    after: int
    ceil: bool

    @property
    def outputs(self) -> int:
        reach = self.length + self.before + self.after - self.kernel
        if not self.ceil:
            return reach // self.stride + 1
        count = -(-reach // self.stride) + 1
        # As torch does: no kernel begins behind the input.
        return count - 1 if (count - 1) * self.stride >= self.length + self.before else count

    @property
    def whole_after(self) -> int:
        """The padding that the last kernel needs to lie on the input whole."""
        return max(self.after, (self.outputs - 1) * self.stride + self.kernel - self.length - self.before)

    def counts(self, with_padding: bool) -> Array:
        """The elements that each output is divided by."""
        starts = np.arange(self.outputs) * self.stride - self.before
        first, end = (-self.before, self.length + self.after) if with_padding else (0, self.length)
        return np.minimum(starts + self.kernel, end) - np.maximum(starts, first)


def divide_by_kernel(graph: Graph) -> None:
    """Divide every AveragePool by the size of its kernel, and multiply behind it where ONNX divides by less."""
    for node in graph.nodes:
        if node.op_type == "AveragePool":
            _divide(graph, node)


def _divide(graph: Graph, node: NodeProto) -> None:
    options = attributes(node)
    axes = _axes(graph.shape(node.input[0])[2:], options)
    counts = [axis.counts(bool(options.get("count_include_pad", 0))) for axis in axes]
    factors = [axis.kernel / count for axis, count in zip(axes, counts, strict=True)]
    if all((factor == 1).all() for factor in factors):
        return
    pads = [*(axis.before for axis in axes), *(axis.whole_after for axis in axes)]
    kernel, strides = [axis.kernel for axis in axes], [axis.stride for axis in axes]
    pool = graph.make(
        node, "AveragePool", node.input, kernel_shape=kernel, strides=strides, pads=pads, count_include_pad=1
    )
    factor = graph.add_constant(node, reduce(np.multiply.outer, factors).astype(np.float32))
    graph.replace(node, [pool, graph.make(node, "Mul", [pool.output[0], factor], node.output[0])])


def _axes(lengths: tuple[int, ...], options: dict[str, object]) -> list[_Axis]:
    kernel = cast(list[int], options["kernel_shape"])
    strides = cast(list[int], options.get("strides", [1] * len(kernel)))
    pads = cast(list[int], options.get("pads", [0] * 2 * len(kernel)))
    ceil = bool(options.get("ceil_mode", 0))
    before, after = pads[: len(kernel)], pads[len(kernel) :]
    return [_Axis(*found, ceil) for found in zip(lengths, kernel, strides, before, after, strict=True)]
