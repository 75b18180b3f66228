"""ConvTranspose: esp-ppq makes InsertZeros and Conv of it, and on the way forgets what dilation does to the padding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from onnx import NodeProto

from lightning_esp.quantization.job import Array
from lightning_esp.quantization.rewrites.graph import Graph, attributes


@dataclass(frozen=True)
class _Axis:
    """A transposed convolution along one axis; `before` and `after` are cut from its ends, `extra` is added."""

    kernel: int
    stride: int
    dilation: int
    before: int
    after: int
    extra: int

    @property
    def reach(self) -> int:
        """Elements that one input element reaches beyond its own place."""
        return (self.kernel - 1) * self.dilation

    @property
    def cut(self) -> tuple[int, int]:
        """Output before and after that a convolution can't cut by padding less, since its padding is 0 already."""
        return max(0, self.before - self.reach), max(0, self.after - self.reach)


def settle_transposed(graph: Graph) -> None:
    """Write a ConvTranspose as a Conv where it has no stride; else spread a dilated kernel with zeros."""
    for node in graph.nodes:
        weight = graph.constant(node.input[1]) if node.op_type == "ConvTranspose" else None
        if weight is None:
            continue
        axes = _axes(weight.shape[2:], attributes(node))
        if all(axis.stride == 1 for axis in axes):
            _convolve(graph, node, weight, axes)
        elif any(axis.dilation > 1 or any(axis.cut) for axis in axes):
            _spread(graph, node, weight, axes)


def _convolve(graph: Graph, node: NodeProto, weight: Array, axes: list[_Axis]) -> None:
    groups = _groups(node)
    split = weight.reshape(groups, -1, *weight.shape[1:]).swapaxes(1, 2)
    turned = np.flip(split.reshape(-1, split.shape[2], *weight.shape[2:]), axis=tuple(range(2, weight.ndim)))
    inputs = [node.input[0], graph.add_constant(node, turned, "weight"), *node.input[2:]]
    before = [axis.reach - axis.before for axis in axes]
    after = [axis.reach - axis.after + axis.extra for axis in axes]
    conv = graph.make(
        node,
        "Conv",
        inputs,
        kernel_shape=[axis.kernel for axis in axes],
        dilations=[axis.dilation for axis in axes],
        strides=[1] * len(axes),
        pads=[max(0, pad) for pad in before + after],
        group=groups,
    )
    graph.replace(node, _cut(graph, node, conv, [axis.cut for axis in axes]))


def _spread(graph: Graph, node: NodeProto, weight: Array, axes: list[_Axis]) -> None:
    wide = np.zeros((*weight.shape[:2], *(axis.reach + 1 for axis in axes)), weight.dtype)
    wide[(slice(None), slice(None), *(slice(None, None, axis.dilation) for axis in axes))] = weight
    inputs = [node.input[0], graph.add_constant(node, wide, "weight"), *node.input[2:]]
    cuts = [axis.cut for axis in axes]
    pads = [axis.before - cut[0] for axis, cut in zip(axes, cuts, strict=True)]
    pads += [axis.after - cut[1] for axis, cut in zip(axes, cuts, strict=True)]
    transposed = graph.make(
        node,
        "ConvTranspose",
        inputs,
        kernel_shape=[axis.reach + 1 for axis in axes],
        strides=[axis.stride for axis in axes],
        pads=pads,
        output_padding=[axis.extra for axis in axes],
        group=_groups(node),
    )
    graph.replace(node, _cut(graph, node, transposed, cuts))


def _cut(graph: Graph, node: NodeProto, layer: NodeProto, cuts: list[tuple[int, int]]) -> list[NodeProto]:
    if not any(map(any, cuts)):
        layer.output[0] = node.output[0]
        return [layer]
    starts, axes = [cut[0] for cut in cuts], list(range(2, 2 + len(cuts)))
    ends = [start + length for start, length in zip(starts, graph.shape(node.output[0])[2:], strict=True)]
    bounds = [graph.add_constant(node, np.array(values, np.int64)) for values in (starts, ends, axes)]
    return [layer, graph.make(node, "Slice", [layer.output[0], *bounds], node.output[0])]


def _groups(node: NodeProto) -> int:
    return cast(int, attributes(node).get("group", 1))


def _axes(kernel: tuple[int, ...], options: dict[str, object]) -> list[_Axis]:
    rank = len(kernel)
    strides = cast(list[int], options.get("strides", [1] * rank))
    dilations = cast(list[int], options.get("dilations", [1] * rank))
    pads = cast(list[int], options.get("pads", [0] * 2 * rank))
    extra = cast(list[int], options.get("output_padding", [0] * rank))
    # What is added at the end and cut again need not be there.
    both = [min(pair) for pair in zip(pads[rank:], extra, strict=True)]
    after = [pad - shared for pad, shared in zip(pads[rank:], both, strict=True)]
    extra = [pad - shared for pad, shared in zip(extra, both, strict=True)]
    return [_Axis(*found) for found in zip(kernel, strides, dilations, pads[:rank], after, extra, strict=True)]
