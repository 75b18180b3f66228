"""GRU and LSTM: one layer per operator, its state an explicit cache."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lightning_esp.conversion.building import Builder
from lightning_esp.conversion.rules.common import Rule
from lightning_esp.conversion.stream_tensor import Refused, StreamTensor
from lightning_esp.conversion.trace import Constant

_RULE = "the state after the last frame is read, which a stream never has"
_ADVICE = "read the output of every frame, y, _ = rnn(x), and pick the last one after the exported model"
_LAST = Refused(_RULE, _ADVICE)


@dataclass(frozen=True)
class LastState(Refused):
    """The state behind the last frame, `h_n`: of a clip, what each layer puts out last.

    Args:
        rule: as in `Refused`.
        advice: as in `Refused`.
        layers: what each layer puts out, in order.
    """

    layers: tuple[StreamTensor, ...] = ()


class GruStep(nn.Module):
    """One GRU layer whose state goes in and out as `[batch, hidden]`."""

    # torch's own functions, since the checks of `nn.GRU.forward` take as long as the layer itself.
    function: Any = staticmethod(torch.gru)

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def run(self, input: Tensor, states: Any) -> Any:
        """Run the layer on a window."""
        layer: Any = self.layer
        return self.function(input, states, layer._flat_weights, layer.bias, 1, 0.0, False, False, layer.batch_first)

    def forward(self, input: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Run one window."""
        output, new = self.run(input, state.unsqueeze(0))
        return output, new.squeeze(0)


class LstmStep(GruStep):
    """One LSTM layer whose state goes in and out as two `[batch, hidden]`."""

    function: Any = staticmethod(torch.lstm)

    def forward(self, input: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        """Run one window."""
        output, new_hidden, new_cell = self.run(input, (hidden.unsqueeze(0), cell.unsqueeze(0)))
        return output, new_hidden.squeeze(0), new_cell.squeeze(0)


def gru(build: Builder, input: StreamTensor, hx: Any, weights: Any, *options: Any) -> tuple[Any, ...]:
    """`nn.GRU` of any number of layers."""
    layers = _recurrent(build, input, (hx,), weights, options, nn.GRU, ("hidden",))
    return (layers[-1], LastState(_RULE, _ADVICE, layers))


def lstm(build: Builder, input: StreamTensor, hx: Any, weights: Any, *options: Any) -> tuple[Any, ...]:
    """`nn.LSTM` of any number of layers."""
    layers = _recurrent(build, input, hx, weights, options, nn.LSTM, ("hidden", "cell"))
    return (layers[-1], LastState(_RULE, _ADVICE, layers), _LAST)


def _recurrent(
    build: Builder, x: StreamTensor, states: Any, weights: Any, options: Any, kind: type[Any], labels: tuple[str, ...]
) -> tuple[StreamTensor, ...]:
    """Add the recurrent layers, and return the output of each."""
    if not isinstance(weights, tuple):
        build.refuse("reads packed sequences", "give it the padded tensor; every recording streams for itself")
    biases, layers, _, _, bidirectional, batch_first = options
    _check(build, x, states, bidirectional, batch_first)
    per_layer = len(weights) // layers
    if per_layer != (4 if biases else 2):
        build.refuse("projects its state (proj_size)", "use a plain nn.LSTM followed by nn.Linear")
    node, nodes = x.node, []
    for i in range(layers):
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")[:per_layer]
        tensors = dict(zip(names, weights[i * per_layer : (i + 1) * per_layer], strict=True))
        hidden, size = tensors["weight_hh_l0"].value.shape[1], tensors["weight_ih_l0"].value.shape[1]
        layer = kind(size, hidden, 1, bool(biases), bool(batch_first), device="meta")
        step = (GruStep if kind is nn.GRU else LstmStep)(build.fill(layer, **tensors))
        suffix = f"_{i}" if layers > 1 else ""
        caches = [build.add_cache(f"{label}{suffix}", (1, hidden)) for label in labels]
        result = build.emit(step.eval(), node, *caches)
        node = build.item(result, 0)
        # What one layer gives the next is no stream of the trace, but may cross a cut.
        node.meta.update(time_axis=x.time_axis, batch_axis=x.batch_axis)
        build.next_values += [build.item(result, 1 + n) for n in range(len(labels))]
        nodes.append(node)
    last = build.result(node, [x], reads=None)
    return (*(replace(last, node=node) for node in nodes[:-1]), last)


def _check(build: Builder, x: StreamTensor, states: Any, bidirectional: bool, batch_first: bool) -> None:
    if x.folded:
        build.refuse(
            f"runs along axis 1 of {list(x.shape)} in each frame, where batch and time are one axis, and a recurrent layer has no "
            "form on the chip but over time",
            "replace it by nn.Conv2d over the bins, or run it over time, on [batch, time, channels]",
        )
    if bidirectional:
        build.refuse("runs backwards too (bidirectional=True)", "use bidirectional=False")
    time = 1 if batch_first else 0
    if (x.time_axis, x.batch_axis) != (time, 1 - time):
        build.refuse(
            f"runs along axis {time} of {list(x.shape)} with batch_first={bool(batch_first)}, where time is axis "
            f"{x.time_axis} and the batch axis {x.batch_axis}",
            "use batch_first=True on [batch, time, channels]",
        )
    if x.delay != 0:
        build.refuse(
            "follows left padding that no layer uses up, or layers that drop or await frames",
            "pad every layer before it on the left by (kernel - 1) * dilation, so that no frame is added or dropped",
        )
    if not all(isinstance(s, Constant) and not s.varies and not bool((s.value != 0).any()) for s in states):
        build.refuse("starts from a state other than zero", "leave the initial state out")


RULES: dict[str, Rule] = {"gru": gru, "lstm": lstm}
