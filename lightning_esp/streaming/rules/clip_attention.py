"""Attention over a whole clip, in products, a softmax and reshapes that the chip has."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lightning_esp.streaming.building import Builder
from lightning_esp.streaming.flow import Refused, Stream
from lightning_esp.streaming.rules.common import Rule, bare, per_frame
from lightning_esp.streaming.trace import Constant

_WEIGHTS = Refused(
    "returns the weights of its attention, and they are read",
    "call it with need_weights=False, and read its output alone",
)


class _Attention(nn.Module):
    """Multi-head attention on `[frames, batch, channels]`, as `nn.MultiheadAttention` computes it."""

    def __init__(self, heads: int, parts: list[nn.Linear], out: nn.Linear) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = parts
        self.out = out

    def _split(self, x: Tensor) -> Tensor:
        """`[frames, batch, channels]` to `[batch, heads, frames, channels of a head]`."""
        frames, batch, channels = x.shape
        return x.transpose(0, 1).reshape(batch, frames, self.heads, channels // self.heads).transpose(1, 2)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        q, k, v = (self._split(part(x)) for part, x in ((self.query, query), (self.key, key), (self.value, value)))
        mixed = attend(q, k, v, q.shape[-1] ** -0.5)
        return self.out(mixed.transpose(1, 2).flatten(2).transpose(0, 1))  # type: ignore[no-any-return]


def attend(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """Mix the values of all frames by how query and key agree, `[..., frames, channels]`."""
    weights = torch.softmax(torch.matmul(query * scale, key.transpose(-2, -1)), dim=-1)
    return torch.matmul(weights, value)


def multi_head(
    build: Builder, query: Stream, key: Stream, value: Stream, embed_dim: int, heads: int, in_weight: Any, in_bias: Any,
    bias_k: Any, bias_v: Any, add_zero: bool, dropout: float, out_weight: Any, out_bias: Any, training: bool = True,
    key_padding_mask: Any = None, need_weights: bool = True, attn_mask: Any = None, **options: Any,
) -> tuple[Any, ...]:  # fmt: skip
    """`F.multi_head_attention_forward` without masks."""
    if key_padding_mask is not None or attn_mask is not None or options.get("is_causal"):
        build.refuse("masks frames of a clip, which is always whole", "leave the mask out")
    if bias_k is not None or bias_v is not None or add_zero or in_weight is None:
        build.refuse("has weights that nn.MultiheadAttention has not by default", "use its defaults")
    matrix, bias = build.fixed(in_weight), None if in_bias is None else build.fixed(in_bias)
    parts = [_linear(build, matrix, bias, i * embed_dim, embed_dim) for i in range(3)]
    out = _linear(build, build.fixed(out_weight), None if out_bias is None else build.fixed(out_bias), 0, embed_dim)
    module = _Attention(heads, parts, out).eval()
    result = build.result(build.emit(module, query, key, value), [query])
    return (result, *[_WEIGHTS] * (len(build.call.results) - 1))


def _linear(build: Builder, matrix: Tensor, bias: Tensor | None, first: int, count: int) -> nn.Linear:
    layer = bare(nn.Linear)(matrix.shape[1], count, bias is not None, device="meta")
    tensors = {"weight": Constant(matrix[first : first + count])}
    if bias is not None:
        tensors["bias"] = Constant(bias[first : first + count])
    return build.fill(layer, **tensors)  # type: ignore[return-value]


def scaled_dot_product(
    build: Builder, query: Stream, key: Stream, value: Stream, attn_mask: Any = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, **_: Any,
) -> Stream:  # fmt: skip
    """`F.scaled_dot_product_attention` without a mask."""
    if attn_mask is not None or is_causal:
        build.refuse("masks frames of a clip, which is always whole", "leave the mask out")
    return per_frame(build, attend, query, key, value, query.shape[-1] ** -0.5 if scale is None else scale)


RULES: dict[str, Rule] = {
    "multi_head_attention_forward": multi_head,
    "scaled_dot_product_attention": scaled_dot_product,
}
