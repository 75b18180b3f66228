"""No tensor ever holds an integer outside the range that was found for it, and no accumulator goes beyond its bound."""

from __future__ import annotations

import numpy as np
import pytest

from lightning_esp.espdl import EspdlInterpreter
from lightning_esp.espdl.interpreter import operator_key
from lightning_esp.espdl.kernels import accumulator_bound, accumulator_peak
from lightning_esp.espdl.ranges import value_ranges
from tests.espdl.zoo import OPERATORS

NETWORKS = [name for name in OPERATORS if name not in ("gru", "lstm")]
EXACT = ["add_two", "sub", "mul", "conv_relu", "relu6", "sigmoid", "tanh", "transpose"]


@pytest.fixture(scope="module")
def operators(quantize):
    return {item.network: item for item in quantize([*NETWORKS, "native"], ("esp32s3",))}


def draw(interpreter, ranges, batch, ends):
    """Random inputs inside ranges; `ends`: nothing but their ends."""
    generator = np.random.default_rng(3)
    inputs = {}
    for name in interpreter.model.inputs:
        tensor, (low, high) = interpreter.model.tensors[name], ranges[name]
        shape = (batch, *(tensor.shape[1:] if tensor.shape[:1] == (1,) else tensor.shape))
        values = generator.integers(low, high, shape, endpoint=True)
        inputs[name] = (np.where(values > (low + high) // 2, high, low) if ends else values).astype(tensor.dtype)
    return inputs


@pytest.mark.parametrize("span", [None, (0, 127), (-20, 5)])
@pytest.mark.parametrize("network", [*NETWORKS, "native"])
def test_every_tensor_stays_in_its_range(operators, network, span):
    interpreter = EspdlInterpreter(operators[network].model, "esp32s3")
    ranges = value_ranges(interpreter, {} if span is None else dict.fromkeys(interpreter.model.inputs, span))
    for ends in (False, True):
        inputs = draw(interpreter, ranges, 64, ends)
        state = interpreter.initial_state(64)
        for _ in range(2):
            trace = interpreter.trace(inputs, state, taps=[name for name in ranges if name not in inputs])
            state = trace.state
            for name, values in trace.values.items():
                assert ranges[name][0] <= values.min(), name
                assert values.max() <= ranges[name][1], name


@pytest.mark.parametrize("network", EXACT)
def test_ranges_are_not_wider_than_need_be(operators, network):
    interpreter = EspdlInterpreter(operators[network].model, "esp32s3")
    ranges = value_ranges(interpreter, dict.fromkeys(interpreter.model.inputs, (3, 9)))
    last = interpreter.instructions[-1].node.output
    assert ranges[last.name] != (-128, 127)


@pytest.mark.parametrize(
    "network", ["conv", "conv_strided_dilated", "depthwise", "conv2d", "depthwise2d", "transposed", "linear"]
)
def test_a_bound_holds_for_every_input_and_is_reached(operators, network):
    interpreter = EspdlInterpreter(operators[network].model, "esp32s3")
    nodes = [item.node for item in interpreter.instructions if operator_key(item.node) in interpreter.accumulating]
    assert nodes
    for node in nodes:
        generator = np.random.default_rng(5)
        shape = (32, *node.input(0).shape)
        for low, high in ((-128, 127), (0, 127), (-7, 90)):
            values = generator.integers(low, high, shape, endpoint=True)
            bound = accumulator_bound(node, low, high)
            assert 0 < accumulator_peak(node, values.astype(np.int8)) <= bound
        # The input that has the sign of its weights everywhere reaches it, but for the ends that it does not need.
        best = [accumulator_peak(node, np.full(shape, end, np.int8)) for end in (127, -128)]
        assert max(best) > 0.2 * accumulator_bound(node, -128, 127)


def follow_all(node, values):
    """Every partial sum of every output position, one product after the other."""
    weight = node.parameter(1).astype(np.int64)
    bias = node.optional_parameter(2).astype(np.int64).reshape(-1)
    sums = bias + np.cumsum(values.astype(np.int64).reshape(-1, weight.shape[0])[:, :, None] * weight, axis=1)
    return max(sums.max(), -1 - sums.min(), bias.max(), -1 - bias.min())


def test_leaving_out_what_cannot_be_the_peak_changes_nothing(operators):
    interpreter = EspdlInterpreter(operators["linear"].model, "esp32s3")
    node = interpreter.instructions[0].node
    generator = np.random.default_rng(7)
    for scale in (2, 40, 128):
        values = generator.integers(-scale, scale, (500, *node.input(0).shape)).astype(np.int8)
        values[313] = np.sign(node.parameter(1)[:, 2]) * (scale - 1)
        assert accumulator_peak(node, values) == follow_all(node, values)
