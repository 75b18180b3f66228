"""Look-up tables of any function in esp-ppq: how its executor computes them, and its exporter fills them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from esp_ppq.executor.base import OPERATION_FORWARD_TABLE
from esp_ppq.IR import Operation
from esp_ppq.quantization.quantizer.EspdlQuantizer import BaseEspdlQuantizer
from torch import Tensor

from lightning_esp.quantization.functions import evaluate

_TYPE = "LUT"


def use_functions() -> None:
    """Let esp-ppq quantize, run and write tables of functions that it does not know, in this process."""
    for table in OPERATION_FORWARD_TABLE.values():
        table[_TYPE] = _with_functions(table.get(_TYPE))
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
