"""GRU and LSTM on whole clips: from zero state each time, in both directions where forward has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_esp.conversion.building import Builder
from lightning_esp.conversion.rules.common import Rule
from lightning_esp.conversion.stream_tensor import StreamTensor
from lightning_esp.conversion.trace import Constant


class _Whole(nn.Module):
    """Recurrent layers of one direction each, on whole clips from zeros; the reversed ones read the clip backwards."""

    def __init__(self, layers: Sequence[nn.Module], directions: int, batch_first: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.directions = directions
        self.batch_first = batch_first

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        states: list[tuple[Tensor, ...]] = []
        for first in range(0, len(self.layers), self.directions):
            parts = []
            for i in range(self.directions):
                output, own = self._run(self.layers[first + i], x, backwards=i == 1)
                parts.append(output)
                states.append(own)
            x = parts[0] if self.directions == 1 else torch.cat(parts, dim=2)
        return (x, *(torch.cat(each, dim=0) if len(each) > 1 else each[0] for each in zip(*states, strict=True)))

    def _run(self, layer: nn.Module, x: Tensor, backwards: bool) -> tuple[Tensor, tuple[Tensor, ...]]:
        axis = 1 if self.batch_first else 0
        output, state = layer(x.flip(axis) if backwards else x)
        # The state is what comes out last; taken from there, it needs no exponent of its own in the file.
        last = output.narrow(axis, x.shape[axis] - 1, 1)
        cells = state[1:] if isinstance(state, tuple) else ()
        states = (last.transpose(0, 1) if self.batch_first else last, *cells)
        return (output.flip(axis) if backwards else output), states


def gru(build: Builder, input: StreamTensor, hx: Any, weights: Any, *options: Any) -> tuple[StreamTensor, ...]:
    """`nn.GRU` of any number of layers and directions."""
    return _run(build, input, (hx,), weights, options, nn.GRU)


def lstm(build: Builder, input: StreamTensor, hx: Any, weights: Any, *options: Any) -> tuple[StreamTensor, ...]:
    """`nn.LSTM` of any number of layers and directions."""
    return _run(build, input, hx, weights, options, nn.LSTM)


def _run(
    build: Builder, x: StreamTensor, states: Any, weights: Any, options: Any, kind: type[nn.RNNBase]
) -> tuple[StreamTensor, ...]:
    biases, layers, _, _, bidirectional, batch_first = options
    if not isinstance(weights, tuple) or not all(isinstance(w, Constant) for w in weights):
        build.refuse("reads packed sequences", "give it the padded tensor; every clip streams for itself")
    if any(not isinstance(s, Constant) or s.varies or bool((s.value != 0).any()) for s in states):
        build.refuse("starts from a state other than zero", "leave the initial state out")
    per_layer, directions = 2 + 2 * bool(biases), 1 + bool(bidirectional)
    if len(weights) != per_layer * layers * directions:
        build.refuse("projects its state (proj_size)", "use a plain nn.LSTM followed by nn.Linear")
    parts = [
        _layer(build, kind, weights[at : at + per_layer], bool(batch_first)) for at in range(0, len(weights), per_layer)
    ]
    node = build.emit(_Whole(parts, directions, bool(batch_first)).eval(), x)
    return tuple(build.result(build.item(node, i), [x], i) for i in range(len(build.call.results)))


def _layer(build: Builder, kind: type[nn.RNNBase], weights: Sequence[Any], batch_first: bool) -> nn.Module:
    """One layer of one direction."""
    size, hidden = weights[0].value.shape[1], weights[1].value.shape[1]
    layer = kind(size, hidden, 1, len(weights) > 2, batch_first, device="meta")
    return build.fill(layer, **dict(zip(layer._flat_weights_names, weights, strict=True)))


RULES: dict[str, Rule] = {"gru": gru, "lstm": lstm}
