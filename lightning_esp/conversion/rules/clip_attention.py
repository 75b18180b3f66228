"""Attention over a whole clip, in products, a softmax and reshapes that the chip has; masks are constants of the clip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_esp.conversion.building import Builder
from lightning_esp.conversion.rules.common import Rule, bare, per_frame
from lightning_esp.conversion.stream_tensor import Refused, StreamTensor
from lightning_esp.conversion.trace import Constant

_WEIGHTS = Refused(
    "returns the weights of its attention, and they are read",
    "call it with need_weights=False, and read its output alone",
)


class _Mix(nn.Module):
    """The values of all frames, mixed by how query and key agree, `[..., frames, channels]`.

    Args:
        scale: factor of the products.
        bias: what is added to them; None for nothing.
        keep: 1 for what is attended to, 0 for what is masked; None for all. It multiplies the softmax, since minus infinity
            has no integer, and a large number in its place would take the range of the products.
    """

    bias: Tensor | None
    keep: Tensor | None

    def __init__(self, scale: float, bias: Tensor | None = None, keep: Tensor | None = None) -> None:
        super().__init__()
        self.scale = scale
        self.register_buffer("bias", bias)
        self.register_buffer("keep", keep)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        products = torch.matmul(query * self.scale, key.transpose(-2, -1))
        weights = torch.softmax(products if self.bias is None else products + self.bias, dim=-1)
        if self.keep is not None:
            weights = weights * self.keep
            weights = weights / weights.sum(dim=-1, keepdim=True)
        return torch.matmul(weights, value)


def _mix(build: Builder, scale: float, masks: Sequence[Tensor]) -> _Mix:
    """Mix by the sum of masks, each of True for what is attended to, or of what is added to the products."""
    added = [m for m in masks if m.is_floating_point()]
    kept = [m if m.dtype == torch.bool else m != -torch.inf for m in masks]
    if not masks:
        return _Mix(scale)
    keep, bias = kept[0], torch.zeros((), dtype=build.trace.dtype)
    for mask in kept[1:]:
        keep = keep & mask
    for mask in added:
        bias = bias + mask.masked_fill(mask == -torch.inf, 0).to(bias)
    if bool((~keep.any(dim=-1)).any()):
        build.refuse("masks all frames for one of them, which gives no number", "let each frame attend to one at least")
    return _Mix(scale, bias if bool(bias.any()) else None, None if bool(keep.all()) else keep.to(bias))


class _Attention(nn.Module):
    """Multi-head attention on `[frames, batch, channels]`, as `nn.MultiheadAttention` computes it."""

    def __init__(self, heads: int, parts: list[nn.Linear], out: nn.Linear, mix: _Mix) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = parts
        self.out = out
        self.mix = mix

    def _split(self, x: Tensor) -> Tensor:
        """`[frames, batch, channels]` to `[batch, heads, frames, channels of a head]`."""
        frames, batch, channels = x.shape
        return x.transpose(0, 1).reshape(batch, frames, self.heads, channels // self.heads).transpose(1, 2)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        q, k, v = (self._split(part(x)) for part, x in ((self.query, query), (self.key, key), (self.value, value)))
        return self.out(self.mix(q, k, v).transpose(1, 2).flatten(2).transpose(0, 1))  # type: ignore[no-any-return]


def multi_head(
    build: Builder, query: StreamTensor, key: StreamTensor, value: StreamTensor, embed_dim: int, heads: int, in_weight: Any, in_bias: Any,
    bias_k: Any, bias_v: Any, add_zero: bool, dropout: float, out_weight: Any, out_bias: Any, training: bool = True,
    key_padding_mask: Any = None, need_weights: bool = True, attn_mask: Any = None, **options: Any,
) -> tuple[Any, ...]:  # fmt: skip
    """`F.multi_head_attention_forward`; its masks are True for what is masked."""
    masks = [] if attn_mask is None else [_read(build, attn_mask, masked=True)]
    if masks and masks[0].ndim == 3:
        build.refuse("has a mask for each head", "give one mask [frames, frames] for all")
    if key_padding_mask is not None:
        masks.append(_read(build, key_padding_mask, masked=True)[:, None, None])
    if bias_k is not None or bias_v is not None or add_zero or in_weight is None:
        build.refuse("has weights that nn.MultiheadAttention has not by default", "use its defaults")
    matrix, bias = build.fixed(in_weight), None if in_bias is None else build.fixed(in_bias)
    parts = [_linear(build, matrix, bias, i * embed_dim, embed_dim) for i in range(3)]
    out = _linear(build, build.fixed(out_weight), None if out_bias is None else build.fixed(out_bias), 0, embed_dim)
    module = _Attention(heads, parts, out, _mix(build, (embed_dim // heads) ** -0.5, masks)).eval()
    result = build.result(build.emit(module, query, key, value), [query])
    return (result, *[_WEIGHTS] * (len(build.call.results) - 1))


def _linear(build: Builder, matrix: Tensor, bias: Tensor | None, first: int, count: int) -> nn.Linear:
    layer = bare(nn.Linear)(matrix.shape[1], count, bias is not None, device="meta")
    tensors = {"weight": Constant(matrix[first : first + count])}
    if bias is not None:
        tensors["bias"] = Constant(bias[first : first + count])
    return build.fill(layer, **tensors)  # type: ignore[return-value]


def scaled_dot_product(
    build: Builder, query: StreamTensor, key: StreamTensor, value: StreamTensor, attn_mask: Any = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, **_: Any,
) -> StreamTensor:  # fmt: skip
    """`F.scaled_dot_product_attention`; its mask is True for what is attended to."""
    masks = [] if attn_mask is None else [_read(build, attn_mask, masked=False)]
    if is_causal:
        masks.append(torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool).tril())
    mix = _mix(build, query.shape[-1] ** -0.5 if scale is None else scale, masks)
    return per_frame(build, mix.eval(), query, key, value)


def _read(build: Builder, mask: Any, masked: bool) -> Tensor:
    """A mask that is the same for every clip, of booleans that say what is attended to, or of what is added."""
    if not isinstance(mask, Constant):
        build.refuse("has a mask that is computed from the input", "give a constant one; every clip is whole")
    value = build.fixed(mask)
    return ~value if masked and value.dtype == torch.bool else value


RULES: dict[str, Rule] = {
    "multi_head_attention_forward": multi_head,
    "scaled_dot_product_attention": scaled_dot_product,
}
