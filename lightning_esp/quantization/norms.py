"""LayerNormalization in esp-ppq's executor, in float32 and in ESP-DL's order, once its numbers are integers.

Two orders differ in the last bits of a float32, which decide a value that lies on a tie: a norm of two channels of one size
gives just less than 1, and half of an odd weight is a tie then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from esp_ppq.core import QuantizationStates
from esp_ppq.executor.base import OPERATION_FORWARD_TABLE
from esp_ppq.IR import Operation, QuantableOperation
from torch import Tensor

from lightning_esp.espdl import newton_root, sum_in_order
from lightning_esp.quantization.job import Array

_TYPE = "LayerNormalization"


def use_norms() -> None:
    """Let esp-ppq's executor compute layer norms of integers as ESP-DL does, in this process."""
    for table in OPERATION_FORWARD_TABLE.values():
        if _TYPE in table:
            table[_TYPE] = _ordered(table[_TYPE])


def _ordered(forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(op: Operation, values: Sequence[Tensor], *arguments: Any, **options: Any) -> Any:
        if not _holds_integers(op):
            return forward(op, values, *arguments, **options)
        rows, *affine = (value.detach().float().numpy() for value in values)
        found = _normalize(rows, affine, np.float32(op.attributes.get("epsilon", 1e-5)))
        return torch.from_numpy(found).to(values[0].dtype)

    return run


def _holds_integers(operation: Operation) -> bool:
    """Tell whether quantization is on: what is calibrated, or compared in float, is no integer yet."""
    return isinstance(operation, QuantableOperation) and any(
        QuantizationStates.is_activated(config.state)
        for config in (*operation.input_quant_config, *operation.output_quant_config)
    )


def _normalize(rows: Array, affine: Sequence[Array], epsilon: np.float32) -> Array:
    mean = rows.mean(axis=-1, keepdims=True, dtype=np.float64).astype(np.float32)
    deviation = rows - mean
    variance = sum_in_order(deviation * deviation) / np.float32(rows.shape[-1])
    normal = deviation * (np.float32(1) / newton_root(variance + epsilon))
    gain, offset = (*affine, np.float32(0))[:2]
    return np.asarray(normal * gain + offset)
