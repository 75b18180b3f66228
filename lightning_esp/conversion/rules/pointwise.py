"""Operators that treat every element, or every frame, alone."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_esp.conversion.building import Builder
from lightning_esp.conversion.rules.common import Rule, axes_of, glu, per_frame, touches
from lightning_esp.conversion.stream_tensor import StreamTensor


def _plain(function: Callable[..., Tensor]) -> Rule:
    def rule(build: Builder, *args: Any, **kwargs: Any) -> StreamTensor:
        kwargs.pop("inplace", None)
        return per_frame(build, function, *args, **kwargs)

    return rule


def _reflected(function: Callable[..., Tensor]) -> Rule:
    def rule(build: Builder, x: Any, other: Any) -> StreamTensor:
        return per_frame(build, function, other, x)

    return rule


def _power() -> Rule:
    # The chip has no power, but a square is a product.
    def rule(build: Builder, x: Any, exponent: Any) -> StreamTensor:
        square = isinstance(exponent, int | float) and exponent == 2
        return per_frame(build, torch.square, x) if square else per_frame(build, torch.pow, x, exponent)

    return rule


def identity(build: Builder, x: StreamTensor, *_: Any, **__: Any) -> StreamTensor:
    """Operators that change no value: no node at all."""
    if not isinstance(x, StreamTensor):
        build.refuse("is called on a constant", "call it on the input")
    return x


def dropout(
    build: Builder, x: StreamTensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> StreamTensor:
    """Dropout does nothing in evaluation mode."""
    if training and p > 0:
        build.refuse("is active in evaluation mode", "pass training=self.training")
    return x


def convert_dtype(build: Builder, x: StreamTensor, *args: Any, **kwargs: Any) -> StreamTensor:
    """`to`, `float`, ...: nothing where the dtype stays."""
    name = build.call.name
    kinds = [a for a in (*args, *kwargs.values()) if isinstance(a, torch.dtype)]
    kind = {"float": torch.float32, "double": torch.float64, "half": torch.float16}.get(name, *kinds[:1])
    if kind is None or (kind.is_floating_point and build.example.dtype != torch.float16):
        return x
    return per_frame(build, torch.Tensor.to, x, kind)


def gate(build: Builder, input: StreamTensor, dim: int = -1) -> StreamTensor:
    """`F.glu`, written as slices: Split has been computed wrongly on the chip."""
    axis = dim % len(input.shape)
    if touches(input, [axis]):
        build.refuse("splits time into two halves", "gate over the channels, F.glu(x, dim=1)")
    half = input.shape[axis] // 2
    value = build.emit(torch.narrow, input, axis, 0, half)
    control = build.emit(torch.narrow, input, axis, half, half)
    node = build.emit(torch.mul, value, build.emit(torch.sigmoid, control))
    return build.result(node, [input], pad_value=build.pad_value_of(glu, input, axis))


def _over_axis(function: Callable[..., Tensor], default: Any = None) -> Rule:
    def rule(build: Builder, input: StreamTensor, dim: Any = default, *args: Any, **kwargs: Any) -> Any:
        kwargs = {key: value for key, value in kwargs.items() if key != "_stacklevel"}
        axes = axes_of(dim, len(input.shape))
        if touches(input, axes):
            _refuse_over_time(build)
        if dim is None:
            build.refuse("reduces all axes", "name the axes of channels or bins")
        return per_frame(build, function, input, dim, *args[: 2 if "softmax" not in build.call.name else 0], **kwargs)

    return rule


def _refuse_over_time(build: Builder) -> NoReturn:
    name = build.call.name
    if "softmax" in name or name == "normalize":
        build.refuse(
            "normalises over all of time, as attention does"
            if "softmax" in name
            else "divides by a norm over all of time",
            "use dim=1, the channels, or a gate such as torch.sigmoid(x)",
        )
    pool = "average the last N frames, F.avg_pool1d(F.pad(x, (N - 1, 0)), N, stride=1)"
    if name in ("amax", "amin", "max", "min", "argmax", "argmin"):
        pool = "take the last N frames, F.max_pool1d(F.pad(x, (N - 1, 0)), N, stride=1)"
    build.refuse("runs over all of time, which a stream never has", f"{pool}, or pool after the exported model")


def minmax(build: Builder, input: Any, other: Any = None, *args: Any, dim: Any = None, **kwargs: Any) -> Any:
    """`max` and `min`: of two tensors, or over an axis."""
    largest = build.call.name == "max"
    if isinstance(other, StreamTensor) or hasattr(other, "value"):
        return per_frame(build, torch.maximum if largest else torch.minimum, input, other)
    axes = axes_of(other if dim is None else dim, len(input.shape))
    if touches(input, axes):
        _refuse_over_time(build)
    keepdim = bool(args[0]) if args else bool(kwargs.get("keepdim", False))
    values = per_frame(build, torch.amax if largest else torch.amin, input, axes, keepdim)
    return (values, per_frame(build, torch.argmax if largest else torch.argmin, input, axes[0], keepdim))


def _normalize(
    build: Builder, input: StreamTensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: Any = None
) -> Any:
    if touches(input, axes_of(dim, len(input.shape))):
        _refuse_over_time(build)
    return per_frame(build, F.normalize, input, p, dim, eps)


_SAME = ("contiguous", "clone", "detach", "alias", "requires_grad", "data", "type_as", "cpu")
_BINARY: dict[str, Callable[..., Any]] = {
    "add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "fmod": torch.fmod,
    "remainder": torch.remainder, "floor_divide": torch.floor_divide, "maximum": torch.maximum,
    "minimum": torch.minimum, "gt": torch.gt, "lt": torch.lt, "ge": torch.ge, "le": torch.le, "eq": torch.eq,
    "ne": torch.ne, "atan2": torch.atan2, "logaddexp": torch.logaddexp, "logical_and": torch.logical_and,
    "logical_or": torch.logical_or, "logical_xor": torch.logical_xor, "where": torch.where, "lerp": torch.lerp,
    "addcmul": torch.addcmul, "addcdiv": torch.addcdiv, "masked_fill": torch.masked_fill,
}  # fmt: skip
_UNARY: dict[str, Callable[..., Any]] = {
    "relu": torch.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh, "silu": F.silu, "gelu": F.gelu, "mish": F.mish,
    "hardtanh": F.hardtanh, "relu6": F.relu6, "hardswish": F.hardswish, "hardsigmoid": F.hardsigmoid,
    "leaky_relu": F.leaky_relu, "elu": F.elu, "selu": F.selu, "celu": F.celu, "softplus": F.softplus,
    "softsign": F.softsign, "log_sigmoid": F.logsigmoid, "tanhshrink": F.tanhshrink, "hardshrink": F.hardshrink,
    "softshrink": F.softshrink, "_threshold": F.threshold, "prelu": F.prelu, "abs": torch.abs, "neg": torch.neg,
    "exp": torch.exp, "expm1": torch.expm1, "log": torch.log, "log2": torch.log2, "log10": torch.log10,
    "log1p": torch.log1p, "sqrt": torch.sqrt, "rsqrt": torch.rsqrt, "square": torch.square, "sin": torch.sin,
    "cos": torch.cos, "erf": torch.erf, "sign": torch.sign, "floor": torch.floor, "ceil": torch.ceil,
    "round": torch.round, "reciprocal": torch.reciprocal, "clamp": torch.clamp, "clip": torch.clamp,
    "clamp_min": torch.clamp_min, "clamp_max": torch.clamp_max, "logical_not": torch.logical_not,
    "nan_to_num": torch.nan_to_num, "isfinite": torch.isfinite, "isnan": torch.isnan, "embedding": F.embedding,
}  # fmt: skip
_OVER_AXIS: dict[str, Callable[..., Any]] = {
    "mean": torch.mean, "sum": torch.sum, "amax": torch.amax, "amin": torch.amin, "argmax": torch.argmax,
    "argmin": torch.argmin, "var": torch.var, "std": torch.std, "softmax": torch.softmax,
    "log_softmax": torch.log_softmax, "logsumexp": torch.logsumexp, "prod": torch.prod,
}  # fmt: skip
_DUNDERS = {
    "__radd__": _plain(torch.add), "__rmul__": _plain(torch.mul), "__rsub__": _reflected(torch.sub),
    "__rtruediv__": _reflected(torch.div), "__rdiv__": _reflected(torch.div), "__rpow__": _reflected(torch.pow),
    "pow": _power(), "__pow__": _power(), "__ipow__": _power(), "__idiv__": _plain(torch.div),
    "__and__": _plain(operator.and_), "__or__": _plain(operator.or_), "__invert__": _plain(operator.invert),
    "rsub": _reflected(torch.sub), "true_divide": _plain(torch.div), "multiply": _plain(torch.mul),
    "subtract": _plain(torch.sub), "divide": _plain(torch.div), "negative": _plain(torch.neg),
}  # fmt: skip
_DROPOUTS = (
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "alpha_dropout",
    "feature_alpha_dropout",
    "feature_dropout",
)

RULES: dict[str, Rule] = {
    **{name: _plain(function) for name, function in {**_BINARY, **_UNARY}.items()},
    **{name: _over_axis(function) for name, function in _OVER_AXIS.items()},
    **_DUNDERS,
    **dict.fromkeys(_SAME, identity),
    **dict.fromkeys(_DROPOUTS, dropout),
    **dict.fromkeys(("to", "float", "double", "half", "type"), convert_dtype),
    "glu": gate,
    "max": minmax,
    "min": minmax,
    "normalize": _normalize,
}
