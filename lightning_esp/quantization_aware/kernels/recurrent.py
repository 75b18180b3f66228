"""GRU and LSTM over the frames of whole recordings.

Gate inputs are int16 at the file's `gate_exponent`, sigmoid and tanh are tables of float32 values over that grid, and the rest is
float32 in the order of ESP-DL, rounded to the state's type after every frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lightning_esp.espdl import Node, gate_tables
from lightning_esp.quantization import Array
from lightning_esp.quantization_aware.kernels.common import Builders, Kernel, power, rounding
from lightning_esp.quantization_aware.rounding import Rounding, substitute

_LOW, _HIGH = -(1 << 15), (1 << 15) - 1
# Products of int8 that float32 sums exactly.
_EXACT_INPUTS = 1000


@dataclass(frozen=True, eq=False)
class _Gates:
    """Functions of the gates on integers of the gate exponent."""

    scale: float
    chip: Rounding
    sigmoids: Array
    tangents: Array

    def squash(self, index: Tensor) -> Tensor:
        """Sigmoid by the table, with the slope of the function."""
        return substitute(torch.sigmoid(index * self.scale), self._look_up(index, self.sigmoids, False))

    def bend(self, index: Tensor) -> Tensor:
        """Tanh by the table, with the slope of the function."""
        return substitute(torch.tanh(index * self.scale), self._look_up(index, self.tangents, True))

    def _look_up(self, index: Tensor, table: Array, odd: bool) -> Tensor:
        with torch.no_grad():
            places = index.abs().long().clamp(max=len(table) - 1)
            magnitude = torch.from_numpy(table).to(index)[places]
            return torch.where(index >= 0, magnitude, -magnitude if odd else 1 - magnitude)

    def near(self, values: Tensor) -> Tensor:
        """Round without saturation."""
        return substitute(values, self.chip.round(values.detach()))


def _wrap(values: Tensor) -> Tensor:
    """Let int16 sums wrap around, as in C."""
    return (values - _LOW).remainder(1 << 16) + _LOW


class _Layer:
    """Parts that GRU and LSTM share: one direction, its parameters as they come, and products in int16."""

    def __init__(self, node: Node, gates: int) -> None:
        if node.attribute("direction", "forward") != "forward":
            raise node.refuse("it runs backward too, which training cannot compute as the chip does")
        self.node = node
        self.hidden = int(node.attribute("hidden_size", 0))
        exponent = int(node.attribute("gate_exponent", -8))
        self.exponent, self.chip = exponent, rounding(node)
        self.gates = _Gates(power(exponent), self.chip, *gate_tables(exponent))
        self.width = gates * self.hidden
        state = node.outputs[1]
        assert state is not None
        self.state_exponent = node.exponent(state)
        self.low, self.high = int(np.iinfo(state.dtype).min), int(np.iinfo(state.dtype).max)
        self.wide = node.input(0).dtype.itemsize > 1
        self.rescale = power(-node.exponent(node.output))

    def product(self, values: Tensor, weight: Tensor, exponent: int) -> Tensor:
        """Return int16 gate inputs: an exact integer product, scaled in float32, rounded, saturated."""
        kind = torch.float64 if self.wide or weight.shape[-1] > _EXACT_INPUTS else torch.float32
        sums = values.to(kind) @ weight.to(kind).T
        return self.chip.quantize(sums.float() * power(exponent - self.exponent), _LOW, _HIGH)

    def inputs(self, values: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gate inputs of all frames with their bias, the recurrent weight, and its bias."""
        node = self.node
        bias = values[3][0, 0].float() if len(values) > 3 and values[3].numel() else torch.zeros(2 * self.width)
        exponent = node.exponent(node.input(0)) + node.exponent(node.input(1))
        frames = self.product(values[0][:, :, 0].float(), values[1][0, 0], exponent)
        bias = bias.to(frames)
        return _wrap(frames + bias[: self.width]), values[2][0, 0], bias[self.width :]

    def recurrent(self, state: Tensor, weight: Tensor) -> Tensor:
        """Return the gate inputs that the state makes, without bias."""
        return self.product(state, weight, self.state_exponent + self.node.exponent(self.node.input(2)))

    def start(self, values: Sequence[Tensor], index: int) -> Tensor:
        """Return the state before the first frame, `[batch, hidden]`."""
        shape = (len(values[0]), self.hidden)
        if len(values) <= index or not values[index].numel():
            return values[0].new_zeros(shape).float()
        return values[index][:, 0, 0].float().expand(shape)


def _leave(states: list[Tensor], like: Tensor) -> Tensor:
    """Bring states of consecutive frames into the file's layout, `[batch, frames, 1, 1, hidden]`."""
    return torch.stack(states, 1)[:, :, None, None].to(like.dtype)


def build_gru(node: Node) -> Kernel:
    """Build a GRU: inputs X, W, R, B, -, initial_h; outputs Y, Y_h."""
    layer = _Layer(node, 3)
    size, gates = layer.hidden, layer.gates

    def run(values: Sequence[Tensor]) -> tuple[Tensor, ...]:
        frames, weight, bias = layer.inputs(values)
        state, states = layer.start(values, 5), list[Tensor]()
        for inputs in frames.unbind(1):
            hiddens = _wrap(layer.recurrent(state, weight) + bias)
            opened = gates.squash(inputs[:, : 2 * size] + hiddens[:, : 2 * size])
            update, reset = opened[:, :size], opened[:, size:]
            candidate = gates.bend(gates.near(inputs[:, 2 * size :] + reset * hiddens[:, 2 * size :]))
            blended = (1 - update) * candidate * layer.rescale + update * state
            state = layer.chip.quantize(blended, layer.low, layer.high)
            states.append(state)
        outputs = _leave(states, values[0])
        return outputs, outputs[:, -1]

    return run


def build_lstm(node: Node) -> Kernel:
    """Build an LSTM: inputs X, W, R, B, -, initial_h, initial_c; outputs Y, Y_h, Y_c, which is int16."""
    layer = _Layer(node, 4)
    size, gates = layer.hidden, layer.gates
    carry = node.outputs[2]
    assert carry is not None
    carry_rescale = power(-node.exponent(carry))

    def run(values: Sequence[Tensor]) -> tuple[Tensor, ...]:
        frames, weight, bias = layer.inputs(values)
        state, memory = layer.start(values, 5), layer.start(values, 6)
        states = list[Tensor]()
        for inputs in frames.unbind(1):
            sums = _wrap(inputs + layer.recurrent(state, weight) + bias)
            opened = gates.squash(sums[:, : 3 * size])
            entering, leaving, keeping = opened[:, :size], opened[:, size : 2 * size], opened[:, 2 * size :]
            candidate = gates.bend(sums[:, 3 * size :])
            memory = _wrap(gates.near(keeping * memory + entering * candidate * carry_rescale))
            state = layer.chip.quantize(leaving * gates.bend(memory) * layer.rescale, layer.low, layer.high)
            states.append(state)
        outputs = _leave(states, values[0])
        return outputs, outputs[:, -1], memory[:, None, None].to(values[0].dtype)

    return run


BUILDERS: Builders = {"GRU": build_gru, "LSTM": build_lstm}
