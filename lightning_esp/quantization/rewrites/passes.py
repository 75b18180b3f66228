"""All passes, in their order."""

from __future__ import annotations

from collections.abc import Callable

import onnx

from lightning_esp.quantization.rewrites.activations import fix_slopes
from lightning_esp.quantization.rewrites.deviations import join_norms
from lightning_esp.quantization.rewrites.gathers import slice_gathers
from lightning_esp.quantization.rewrites.graph import Graph
from lightning_esp.quantization.rewrites.groups import join_groups
from lightning_esp.quantization.rewrites.indices import count_from_the_front
from lightning_esp.quantization.rewrites.logarithms import spell_log_softmax
from lightning_esp.quantization.rewrites.noops import fold_noops
from lightning_esp.quantization.rewrites.norms import flatten_norms, scale_channels
from lightning_esp.quantization.rewrites.pieces import split_products
from lightning_esp.quantization.rewrites.pools import divide_by_kernel
from lightning_esp.quantization.rewrites.products import store_second
from lightning_esp.quantization.rewrites.quotients import spread_operands
from lightning_esp.quantization.rewrites.reductions import split_reductions
from lightning_esp.quantization.rewrites.tiles import join_tiles
from lightning_esp.quantization.rewrites.transposed import settle_transposed

PASSES: tuple[Callable[[Graph], None], ...] = (
    divide_by_kernel,
    spell_log_softmax,
    join_norms,
    settle_transposed,
    # Behind what makes other layers of one, since it asks which layer a norm follows.
    scale_channels,
    flatten_norms,
    store_second,
    fix_slopes,
    join_groups,
    slice_gathers,
    join_tiles,
    split_products,
    fold_noops,
    # Behind what drops products with ones.
    spread_operands,
    split_reductions,
    count_from_the_front,
)


def rewrite(model: onnx.ModelProto) -> onnx.ModelProto:
    """Write a model in operators that esp-ppq and ESP-DL read as ONNX means them.

    It computes what it did, names of inputs and outputs included, and every new node keeps the path of its module.

    Args:
        model: a simplified model whose shapes are fixed.

    Returns:
        Another model.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    _forget_shapes(result.graph)
    for apply in PASSES:
        # Anew for each pass, since the shapes of what the one before made are not known yet.
        apply(Graph(result))
    return onnx.shape_inference.infer_shapes(result, data_prop=True)


def _forget_shapes(graph: onnx.GraphProto) -> None:
    # They were inferred from operators that are rewritten since they are read in more ways than one.
    del graph.value_info[:]
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
