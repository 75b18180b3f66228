"""GRU and LSTM, forward or bidirectional, one recording frame after the other.

Gate inputs are int16 at the file's `gate_exponent`; sigmoid and tanh are tables of float32 values over that grid; the
rest is float32 in the C code's order, rounded to the state's type after every frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lightning_esp.espdl.arithmetic import power_of_two
from lightning_esp.espdl.espdl_model import Array
from lightning_esp.espdl.kernels.activation import sigmoid, tanh
from lightning_esp.espdl.kernels.node import Kernel, KernelTable, Node, Values

_INT16 = np.dtype(np.int16)
_ONE = np.float32(1)


@dataclass(frozen=True, eq=False)
class _GateTable:
    """A table over indices 0..n, continued to negative indices by a symmetry and held constant outside."""

    values: Array
    odd: bool

    def __call__(self, index: Array) -> Array:
        magnitude = self.values[np.minimum(np.abs(index), len(self.values) - 1)]
        return np.where(index >= 0, magnitude, -magnitude if self.odd else _ONE - magnitude)


def _make_table(exponent: int, bound: float, function: Callable[[Array], Array], odd: bool) -> _GateTable:
    scale = power_of_two(exponent)
    last = int(np.float32(bound) / scale) + 1
    return _GateTable(function(np.arange(last + 1, dtype=np.float32) * scale), odd)


def gate_tables(exponent: int) -> tuple[Array, Array]:
    """Return what the gates of a GRU or LSTM look up: sigmoid and tanh in float32 at 0, 1, 2, ... steps of 2^exponent.

    Beyond the last entry both are constant; of negative values they are 1 - sigmoid, and -tanh.
    """
    return _make_table(exponent, 6.3, sigmoid, odd=False).values, _make_table(exponent, 3.5, tanh, odd=True).values


@dataclass(frozen=True, eq=False)
class _Cell:
    """The parameters of one direction."""

    node: Node
    hidden: int
    gate_exponent: int
    input_weight: Array
    hidden_weight: Array
    input_bias: Array
    hidden_bias: Array

    def product(self, values: Array, weight: Array, exponent: int) -> Array:
        """Return int16 gate inputs: an exact integer product, scaled in float32, rounded, saturated."""
        # int8 products fit float64 exactly, and so do int16 ones of fewer than 2^23 inputs.
        sums = values.astype(np.float64) @ weight
        return self.node.rules.quantize(
            sums.astype(np.float32) * power_of_two(-(self.gate_exponent - exponent)), _INT16
        )

    def gate_inputs(self, frame: Array, state: Array, state_exponent: int) -> tuple[Array, Array]:
        """Return (W x, R h) as int16 without bias."""
        node = self.node
        first = self.product(frame, self.input_weight, node.exponent(node.input(0)) + node.exponent(node.input(1)))
        second = self.product(state, self.hidden_weight, state_exponent + node.exponent(node.input(2)))
        return first, second


def _read_cells(node: Node, gates: int) -> list[_Cell]:
    hidden = int(node.attribute("hidden_size", 0))
    directions = 2 if node.attribute("direction", "forward") == "bidirectional" else 1
    if node.attribute("direction", "forward") not in ("forward", "bidirectional") or node.attribute("layout", 0):
        raise node.refuse("only layout 0, forward or bidirectional, runs on ESP-DL")
    if len(node.input(0).shape) != 3 or node.input(0).shape[1] != 1:
        raise node.refuse(f"its input has shape {node.input(0).shape}; ESP-DL needs (frames, 1, features)")
    stored = node.optional_parameter(3)
    bias = np.zeros((directions, 2 * gates * hidden), np.int16) if stored is None else stored
    gate_exponent = int(node.attribute("gate_exponent", -8))
    if bias.dtype != _INT16 or (stored is not None and node.input(3).exponent != gate_exponent):
        raise node.refuse(f"its bias must be int16 at the gate exponent {gate_exponent}")
    width = gates * hidden
    return [
        _Cell(
            node,
            hidden,
            gate_exponent,
            node.parameter(1)[index].astype(np.float64).T,
            node.parameter(2)[index].astype(np.float64).T,
            bias[index, :width],
            bias[index, width:],
        )
        for index in range(directions)
    ]


def _initial(
    node: Node, values: Values, index: int, like: Array, cells: list[_Cell], dtype: np.dtype[np.int16]
) -> Array:
    """Return the state before the first frame, shape (batch, directions, hidden)."""
    if node.optional_input(index) is None:
        return np.zeros((like.shape[0], len(cells), cells[0].hidden), dtype)
    return np.broadcast_to(values[index][:, :, 0, :], (like.shape[0], len(cells), cells[0].hidden))


def _scan(
    frames: Array,
    cells: list[_Cell],
    step: Callable[[_Cell, Array, tuple[Array, ...]], tuple[Array, ...]],
    states: list[Array],
) -> tuple[Array, list[Array]]:
    """Run every direction over (batch, frames, 1, features); return outputs and final states."""
    outputs = np.empty((*frames.shape[:2], len(cells), 1, cells[0].hidden), states[0].dtype)
    finals = [state.copy() for state in states]
    for direction, cell in enumerate(cells):
        current = tuple(state[:, direction] for state in states)
        order = range(frames.shape[1]) if direction == 0 else reversed(range(frames.shape[1]))
        for index in order:
            current = step(cell, frames[:, index, 0], current)
            outputs[:, index, direction, 0] = current[0]
        for final, state in zip(finals, current, strict=True):
            final[:, direction] = state
    return outputs, [final[:, :, None, :] for final in finals]


def build_gru(node: Node) -> Kernel:
    """Build a GRU: inputs X, W, R, B, -, initial_h; outputs Y, Y_h."""
    if not node.attribute("linear_before_reset", 0):
        raise node.refuse("linear_before_reset must be 1 (as in PyTorch); ESP-DL has no other form")
    cells = _read_cells(node, 3)
    squash = _make_table(cells[0].gate_exponent, 6.3, sigmoid, odd=False)
    bend = _make_table(cells[0].gate_exponent, 3.5, tanh, odd=True)
    last = node.outputs[1] if len(node.outputs) > 1 else None
    if last is None:
        raise node.refuse("its output Y_h is left out, which ESP-DL dereferences")
    exponent, dtype, rescale = node.exponent(last), last.dtype, node.rescale(node.output)

    def step(cell: _Cell, frame: Array, states: tuple[Array, ...]) -> tuple[Array, ...]:
        (state,) = states
        size = cell.hidden
        inputs, hiddens = cell.gate_inputs(frame, state, exponent)
        # int16 sums wrap around, as in C.
        inputs, hiddens = inputs + cell.input_bias, hiddens + cell.hidden_bias
        gates = squash(inputs[:, : 2 * size].astype(np.int32) + hiddens[:, : 2 * size])
        update, reset = gates[:, :size], gates[:, size:]
        mixed = inputs[:, 2 * size :].astype(np.float32) + reset * hiddens[:, 2 * size :].astype(np.float32)
        candidate = bend(node.rules.round_sums(mixed).astype(np.int64))
        blended = (_ONE - update) * candidate * rescale + update * state.astype(np.float32)
        return (node.rules.quantize_sums(blended, dtype),)

    def run(values: Values) -> tuple[Array, ...]:
        state = _initial(node, values, 5, values[0], cells, dtype)
        outputs, finals = _scan(values[0], cells, step, [state])
        return outputs, finals[0]

    return run


def build_lstm(node: Node) -> Kernel:
    """Build an LSTM: inputs X, W, R, B, -, initial_h, initial_c; outputs Y, Y_h, Y_c (int16)."""
    cells = _read_cells(node, 4)
    squash = _make_table(cells[0].gate_exponent, 6.3, sigmoid, odd=False)
    bend = _make_table(cells[0].gate_exponent, 3.5, tanh, odd=True)
    hidden, carry = (node.outputs[index] if len(node.outputs) > index else None for index in (1, 2))
    if hidden is None or carry is None:
        raise node.refuse("its outputs Y_h and Y_c must both be present: ESP-DL dereferences them")
    if carry.dtype != _INT16 or carry.exponent != cells[0].gate_exponent:
        raise node.refuse(f"{carry.name} must be int16 at the gate exponent {cells[0].gate_exponent}; ESP-DL asserts")
    exponent, dtype = node.exponent(hidden), hidden.dtype
    rescale, carry_rescale = node.rescale(node.output), node.rescale(carry)

    def step(cell: _Cell, frame: Array, states: tuple[Array, ...]) -> tuple[Array, ...]:
        size = cell.hidden
        inputs, hiddens = cell.gate_inputs(frame, states[0], exponent)
        # int16 sums wrap around, as in C. The gates' order is input, output, forget, cell.
        sums = inputs + cell.input_bias + hiddens + cell.hidden_bias
        opened = squash(sums[:, : 3 * size].astype(np.int32))
        entering, leaving, keeping = opened[:, :size], opened[:, size : 2 * size], opened[:, 2 * size :]
        candidate = bend(sums[:, 3 * size :].astype(np.int32))
        carried = node.rules.round_sums(keeping * states[1].astype(np.float32) + entering * candidate * carry_rescale)
        memory = carried.astype(np.int64).astype(np.int16)
        return node.rules.quantize_sums(leaving * bend(memory.astype(np.int32)) * rescale, dtype), memory

    def run(values: Values) -> tuple[Array, ...]:
        states = [
            _initial(node, values, 5, values[0], cells, dtype),
            _initial(node, values, 6, values[0], cells, _INT16),
        ]
        outputs, finals = _scan(values[0], cells, step, states)
        return outputs, *finals

    return run


KERNELS: KernelTable = {"GRU": build_gru, "LSTM": build_lstm}
