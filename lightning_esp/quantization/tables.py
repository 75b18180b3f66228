"""Look-up tables of any function in esp-ppq: how its executor computes them, and its exporter fills them; and quotients."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import torch
from esp_ppq.executor.base import OPERATION_FORWARD_TABLE
from esp_ppq.IR import Operation
from esp_ppq.quantization.quantizer.EspdlQuantizer import BaseEspdlQuantizer
from torch import Tensor

from lightning_esp.quantization.functions import evaluate

_TYPE = "LUT"


def use_functions() -> None:
    """Let esp-ppq quantize, run and write tables of functions that it does not know, and divide 0 by 0 as ESP-DL does."""
    for table in OPERATION_FORWARD_TABLE.values():
        table[_TYPE] = _with_functions(table.get(_TYPE))
        table["Div"] = _without_nan(table["Div"])
    known = BaseEspdlQuantizer.quant_operation_types.fget
    BaseEspdlQuantizer.quant_operation_types = property(lambda quantizer: {*known(quantizer), _TYPE})


def _with_functions(forward: Callable[..., Any] | None) -> Callable[..., Any]:
    def run(op: Operation, values: Sequence[Tensor], *arguments: Any, **options: Any) -> Any:
        text = op.attributes.get("function")
        if text is not None:
            return evaluate(json.loads(text), values[0])
        assert forward is not None
        return forward(op, values, *arguments, **options)

    return run


def _without_nan(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """ESP-DL's 0 / 0 is 0. What is small in float may be 0 in integers."""

    def run(op: Operation, values: Sequence[Tensor], *arguments: Any, **options: Any) -> Tensor:
        quotient = forward(op, values, *arguments, **options)
        return torch.where(quotient.isnan(), 0.0, quotient)

    return run
