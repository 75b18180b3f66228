"""Products of two activations: ESP-DL 3.3.9 reads the second operand as it reads a stored weight, packed for the chip.

esp-ppq leaves it in plain order, which later versions of ESP-DL read; so its elements are brought into the packed order
by views and permutations before the product. Every number stays what it was.
"""

from __future__ import annotations

import numpy as np
from esp_ppq.IR import BaseGraph, Operation, QuantableOperation, Variable
from esp_ppq.parser.espdl.espdl_graph_utils import insert_reshape_node, insert_transpose_node

from lightning_esp.espdl import chip_rules

# What the exporter says of the second operand; the interpreter asks for it, ESP-DL 3.3.9 does not.
_ATTRIBUTE, _PACKED = "input1_layout", "packed"


def pack_products(graph: BaseGraph, target: str) -> list[Operation]:
    """Put the packing before every product of two activations, in place.

    Args:
        graph: a quantized graph, before esp-ppq prepares it for export.
        target: the chip.

    Returns:
        The products whose second operand is packed now; see `mark_packed`.
    """
    packed = []
    for operation in list(graph.topological_sort()):
        if operation.type != "MatMul" or not isinstance(operation, QuantableOperation):
            continue
        first, second = operation.inputs[:2]
        # Of a tensor times itself, the two edges cannot be told apart here; the interpreter refuses it.
        if not second.is_parameter and first is not second:
            _pack(graph, operation, second, target)
            packed.append(operation)
    return packed


def mark_packed(packed: list[Operation]) -> None:
    """Note in the prepared graph that these products read packed operands."""
    for operation in packed:
        operation.attributes[_ATTRIBUTE] = _PACKED


def _pack(graph: BaseGraph, operation: Operation, second: Variable, target: str) -> None:
    *batch, inputs, outputs = second.shape
    rank = len(second.shape)
    bits = operation.input_quant_config[1].num_of_bits
    lanes = chip_rules(target).lanes(np.dtype(np.int8 if bits == 8 else np.int16))
    if inputs == 1 or outputs in (1, lanes):
        return
    if lanes is None or outputs < lanes:
        turned = [*range(rank - 2), rank - 1, rank - 2]
        created = insert_transpose_node(graph, second, operation, turned)
    else:
        wide = insert_reshape_node(graph, second, operation, [*batch, inputs, outputs // lanes, lanes])
        turned = [*range(rank - 2), rank - 1, rank - 2, rank]
        created = insert_transpose_node(graph, wide.outputs[0], operation, turned)
    insert_reshape_node(graph, created.outputs[0], operation, list(second.shape))
