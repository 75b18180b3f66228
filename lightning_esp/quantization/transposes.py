"""Transpositions that esp-ppq joins when it writes a file: not across what leaves the file, nor over a change of exponents."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import Any

from esp_ppq.core import OperationQuantizationConfig
from esp_ppq.IR import BaseGraph, Operation, QuantableOperation
from esp_ppq.parser.espdl import layout_patterns
from esp_ppq.parser.espdl.espdl_typedef import ACTIVATION_OP_SET
from esp_ppq.parser.espdl.layout_patterns import FuseTransposeActivationPattern, FuseTransposePattern

_KIND = "Transpose"


class _Pairs(FuseTransposePattern):  # type: ignore[misc]
    """Joins transpositions in a row."""

    def export(self, op: Operation, graph: BaseGraph, **options: Any) -> Operation:
        if _begins_here(op, graph) and _loses_output([*_row(op, {_KIND})], graph):
            return op
        found = super().export(op, graph, **options)
        if op.type == _KIND and isinstance(op, QuantableOperation):
            # The last of them may stand before an operator that reads with another exponent. Given to all of them, it would
            # rename integers that ESP-DL only moves; so they give what they take, and what reads them requantizes.
            taken = op.config.input_quantization_config
            op.config = OperationQuantizationConfig(taken, taken)
        return found


class _AroundActivations(FuseTransposeActivationPattern):  # type: ignore[misc]
    """Joins a transposition before an activation with one behind it."""

    def export(self, op: Operation, graph: BaseGraph, **options: Any) -> Operation:
        keep = _begins_here(op, graph) and _loses_output([*islice(_row(op, {_KIND, *ACTIVATION_OP_SET}), 3)], graph)
        return op if keep else super().export(op, graph, **options)


def keep_apart() -> None:
    """Let esp-ppq join transpositions in this process only where every output of the graph stays."""
    layout_patterns.FuseTransposePattern = _Pairs
    layout_patterns.FuseTransposeActivationPattern = _AroundActivations


def _begins_here(operation: Operation, graph: BaseGraph) -> bool:
    return operation.type == _KIND and operation.name in graph.operations


def _row(operation: Operation, kinds: Collection[str]) -> Iterator[Operation]:
    """An operation, and those behind it of which each is all that reads the one before."""
    yield operation
    readers = operation.outputs[0].dest_ops
    if len(readers) == 1 and readers[0].type in kinds:
        yield from _row(readers[0], kinds)


def _loses_output(row: Sequence[Operation], graph: BaseGraph) -> bool:
    """Tell whether an output is read further down the row, or would only be another name for what the row reads."""
    written = [operation.outputs[0] for operation in row]
    if any(variable.name in graph.outputs and variable.dest_ops for variable in written):
        return True
    source = row[0].inputs[0]
    shared = source.source_op is None or len(source.dest_ops) > 1 or source.name in graph.outputs
    return shared and written[-1].name in graph.outputs and _moves_nothing(row)


def _moves_nothing(row: Sequence[Operation]) -> bool:
    order = list(range(len(row[0].attributes["perm"])))
    for operation in row:
        if operation.type == _KIND:
            order = [order[axis] for axis in operation.attributes["perm"]]
    return order == sorted(order)
