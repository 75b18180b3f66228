"""Operators without a streaming form, each with what to use instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from lightning_esp.conversion.building import Builder
from lightning_esp.conversion.rules.common import Rule, axes_of, per_frame
from lightning_esp.conversion.stream_tensor import StreamTensor

_AVERAGE = "average the last N frames, F.avg_pool1d(F.pad(x, (N - 1, 0)), N, stride=1), or use nn.GRU"
BY_HAND = "write streaming_forward(x, *caches) and streaming_caches() for this module by hand"


def unknown(build: Builder, *_: Any, **__: Any) -> Any:
    """No rule exists."""
    build.refuse("has no streaming rule", BY_HAND)


def _refusal(rule: str, advice: str) -> Callable[..., NoReturn]:
    def refuse(build: Builder, *_: Any, **__: Any) -> NoReturn:
        build.refuse(rule, advice)

    return refuse


def running(build: Builder, input: StreamTensor, dim: Any = None, **kwargs: Any) -> StreamTensor:
    """`cumsum` and its kin: over channels a plain operator, over time an endless sum."""
    if input.time_axis in axes_of(dim, len(input.shape)):
        build.refuse("adds up all frames since the start, which grows without end", _AVERAGE)
    return per_frame(build, build.call.function, input, dim, **kwargs)


def ordered(build: Builder, input: StreamTensor, *args: Any, **kwargs: Any) -> Any:
    """`sort` and its kin: over channels a plain operator."""
    name = build.call.name
    at = 1 if name in ("topk", "kthvalue", "quantile") else 0
    default = -1 if name in ("sort", "argsort", "topk", "kthvalue") else None
    dim = kwargs.get("dim", args[at] if len(args) > at else default)
    if input.time_axis in axes_of(dim, len(input.shape)):
        build.refuse(
            "orders the frames of all of time, which a stream never has",
            "use the largest of the last N frames, F.max_pool1d(F.pad(x, (N - 1, 0)), N, stride=1)",
        )
    if len(build.call.results) == 1:
        return per_frame(build, build.call.function, input, *args, **kwargs)
    node = build.emit(build.call.function, input, *args, **kwargs)
    return tuple(build.result(build.item(node, i), [input], i) for i in range(len(build.call.results)))


_ATTENTION = _refusal(
    "attends over all of time, which a stream never has",
    "use nn.GRU or causal convolutions, or write streaming_forward(x, *caches) for this module by hand",
)
_CELLS = _refusal("is one step of a loop over time", "use nn.GRU or nn.LSTM over the whole recording, or " + BY_HAND)

RULES: dict[str, Rule] = {
    **dict.fromkeys(
        (
            "multi_head_attention_forward",
            "scaled_dot_product_attention",
            "_native_multi_head_attention",
            "_transformer_encoder_layer_fwd",
        ),
        _ATTENTION,
    ),
    **dict.fromkeys(("cumsum", "cumprod", "logcumsumexp"), running),
    **dict.fromkeys(("gru_cell", "lstm_cell", "rnn_tanh_cell", "rnn_relu_cell"), _CELLS),
    **dict.fromkeys(("rnn_tanh", "rnn_relu"), _refusal("is a plain RNN", "use nn.GRU, which the chip has")),
    **dict.fromkeys(("sort", "argsort", "topk", "median", "kthvalue", "quantile", "cummax", "cummin"), ordered),
}
