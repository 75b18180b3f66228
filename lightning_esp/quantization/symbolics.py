"""Operators that torch's exporter has no ONNX for, written in operators that it has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

import torch
import torch.onnx.utils
from torch.onnx import symbolic_helper


@symbolic_helper.parse_args("v", "is", "v", "f")
def _rms_norm(g: Any, x: Any, axes: Sequence[int], weight: Any, eps: float | None) -> Any:
    """A layer norm of x and -x side by side: their mean is zero, so their variance is the mean square of x."""
    sizes, size = list(symbolic_helper._get_tensor_sizes(x)), prod(axes)
    rest = sizes[1 : len(sizes) - len(axes)]
    flat = g.op("Reshape", x, _integers(g, [-1, *rest, size]))
    both = g.op("Concat", flat, g.op("Neg", flat), axis_i=-1)
    if symbolic_helper._is_none(weight):
        row = g.op("Constant", value_t=torch.ones(size))
    else:
        row = g.op("Reshape", weight, _integers(g, [-1]))
    gain = g.op("Concat", row, row, axis_i=0)
    epsilon = torch.finfo(torch.float32).eps if eps is None else eps
    normal = g.op("LayerNormalization", both, gain, axis_i=-1, epsilon_f=epsilon)
    half = g.op("Slice", normal, *(_integers(g, [n]) for n in (0, size, len(rest) + 1)))
    return g.op("Reshape", half, _integers(g, [-1, *sizes[1:]]))


@symbolic_helper.parse_args("v", "f", "f")
def _threshold(g: Any, x: Any, threshold: float, value: float) -> Any:
    over = g.op("Greater", x, g.op("Constant", value_t=torch.tensor(threshold)))
    return g.op("Where", over, x, g.op("Constant", value_t=torch.tensor(value)))


def _integers(g: Any, values: Sequence[int]) -> Any:
    return g.op("Constant", value_t=torch.tensor(values))


_SYMBOLICS: dict[str, Callable[..., Any]] = {"aten::rms_norm": _rms_norm, "aten::threshold": _threshold}


@contextmanager
def logged() -> Iterator[list[str]]:
    """Within it, graphs that torch's exporter would print when it fails are kept in the list."""
    found: list[str] = []
    before = torch._C._jit_onnx_log
    torch._C._jit_onnx_log = lambda *parts: found.append("".join(map(str, parts)))
    try:
        yield found
    finally:
        torch._C._jit_onnx_log = before


@contextmanager
def known(opset: int) -> Iterator[None]:
    """Within it, `torch.onnx.export` knows these operators too."""
    for name, symbolic in _SYMBOLICS.items():
        torch.onnx.utils.register_custom_op_symbolic(name, symbolic, opset)
    try:
        yield
    finally:
        for name in _SYMBOLICS:
            torch.onnx.utils.unregister_custom_op_symbolic(name, opset)
