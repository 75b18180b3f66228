"""The integer interpreter against esp-ppq's executor, operator by operator and on random networks."""

from __future__ import annotations

import numpy as np
import pytest

from lightning_esp.errors import EspdlError, EspdlOperatorError, UnknownTargetError
from lightning_esp.espdl import EspdlInterpreter, IntegerStream
from tests.espdl.zoo import OPERATORS
from tests.espdl.zoo_more import MORE, MORE_REFUSED

TARGETS = ("esp32s3", "esp32p4", "esp32c3")
REFUSED = {
    "grouped": "2 groups on 8 input and 16 output channels",
    "matmul": "multiplies two activations",
    "glu": r"num_outputs=2 as the length of a part and cuts \[2, 2, 2, 2, 2, 2\]",
    "erf": "Erf .* does not simulate the operator type",
}


def external(model, name, values):
    """(steps, *file shape) -> (steps, ...): steps become the batch, where the file has 1."""
    return values[:, 0] if model.tensors[name].shape[:1] == (1,) else values


def run_all_steps(item):
    """Run every recorded step as one batch, and return (computed, expected) by output name."""
    model = item.model
    interpreter = EspdlInterpreter(model, item.target)
    inputs = {name: external(model, name, values) for name, values in item.inputs.items()}
    steps = len(next(iter(inputs.values())))
    outputs, _ = interpreter.step(inputs, interpreter.initial_state(steps))
    return {name: (outputs[name], external(model, name, item.outputs[name])) for name in outputs}


def count_differences(item):
    pairs = run_all_steps(item)
    assert set(pairs) == set(item.outputs)
    for computed, expected in pairs.values():
        assert computed.dtype == expected.dtype
        assert computed.shape == expected.shape
    return sum(int((computed != expected).sum()) for computed, expected in pairs.values())


@pytest.fixture(scope="module")
def operators(quantize):
    return {(item.network, item.target): item for item in quantize([*OPERATORS, "streamed"])}


@pytest.mark.parametrize("target", ["esp32s3", "esp32p4", "esp32c3"])
class TestEveryOperator:
    @pytest.mark.parametrize("network", [name for name in OPERATORS if name != "softmax"])
    def test_equals_the_executor(self, operators, network, target):
        assert count_differences(operators[network, target]) == 0

    @pytest.mark.parametrize("network", [name for name in OPERATORS if name != "softmax"])
    def test_equals_the_values_in_the_file(self, operators, network, target):
        model = operators[network, target].model
        interpreter = EspdlInterpreter(model, target)
        inputs = {name: external(model, name, item.data[None]) for name, item in model.test_inputs.items()}
        outputs, _ = interpreter.step(inputs, {})
        assert set(model.test_outputs) == set(outputs)
        for name, item in model.test_outputs.items():
            np.testing.assert_array_equal(outputs[name], external(model, name, item.data[None]))

    def test_softmax_equals_to_the_last_bits_of_float32(self, operators, target):
        ((computed, expected),) = run_all_steps(operators["softmax", target]).values()
        assert computed.dtype == np.float32
        np.testing.assert_allclose(computed, expected, rtol=0, atol=6e-8)
        np.testing.assert_allclose(computed.sum(axis=-1), 1, rtol=1e-6)


@pytest.mark.full
class TestUnusualForms:
    def test_equal_the_executor_on_every_chip(self, quantize):
        items = quantize(list(MORE))
        assert {item.name: count_differences(item) for item in items} == {item.name: 0 for item in items}

    def test_what_the_chip_gets_wrong_is_refused(self, quantize):
        for item in quantize(list(MORE_REFUSED), ("esp32s3",)):
            with pytest.raises(EspdlOperatorError):
                EspdlInterpreter(item.model, item.target)


class TestTablesOfRecurrentLayers:
    def test_cells_beyond_the_table_are_where_the_executor_differs(self, quantize):
        """ESP-DL's LSTM reads tanh from a table that ends at 3.5 (`m_tanh_lut` of `dl_module_lstm.hpp`); esp-ppq doesn't.

        The cell itself is exact; what is read from it differs by a step, beyond the end alone. An export therefore gives
        esp-ppq's executor the same tables (`lightning_esp/quantization/recurrent.py`); here it is esp-ppq's own.
        """
        for item in quantize(["lstm_any_state"], steps=40):
            found = run_all_steps(item)
            cells, expected_cells = found["c_next"]
            np.testing.assert_array_equal(cells, expected_cells)
            beyond = np.abs(cells.astype(np.float64)) * 2.0 ** item.model.tensors["c_next"].exponent > 3.5
            assert 0.1 < beyond.mean() < 0.9
            hidden, expected = found["h_next"]
            wrong = hidden != expected
            assert not wrong[~beyond].any()
            assert np.abs(hidden.astype(int) - expected)[beyond].max() == 1


class TestInt16:
    @pytest.mark.parametrize(
        "network", ["conv_strided_dilated", "depthwise", "silu", "residual", "mean", "average_pool3"]
    )
    def test_within_two_steps_on_two_percent(self, quantize, network):
        for item in quantize([network], ("esp32s3", "esp32p4"), bits=16):
            for computed, expected in run_all_steps(item).values():
                difference = np.abs(computed.astype(np.int64) - expected)
                assert difference.max() <= 2
                assert (difference != 0).mean() <= 0.02


class TestMixedPrecision:
    def test_one_int16_layer_in_an_int8_network(self, quantize):
        for item in quantize(["mixed"]):
            kinds = [operator.attributes["quant_type"] for operator in item.model.operators if operator.type == "Conv"]
            assert kinds == ["S8", "S16", "S8"]
            assert count_differences(item) == 0


class TestRandomNetworks:
    def test_sixty(self, quantize):
        self.compare([item for target in TARGETS for item in self.draw(quantize, target, 21)], 60)

    @pytest.mark.full
    def test_three_hundred(self, quantize):
        self.compare([item for target in TARGETS for item in self.draw(quantize, target, 102)], 300)

    def draw(self, quantize, target, count):
        first = {"esp32s3": 1000, "esp32p4": 2000, "esp32c3": 3000}[target]
        return quantize(["random"], (target,), seeds=tuple(range(first, first + count)), steps=4)

    def compare(self, items, least):
        """A drawn network may be dead behind a ReLU; its output exponent is then too fine, and ESP-DL can't run it."""
        differences, refused = {}, []
        for item in items:
            try:
                differences[item.name] = count_differences(item)
            except EspdlOperatorError as error:
                refused.append(str(error))
        assert all("negative shift" in reason for reason in refused)
        assert differences == dict.fromkeys(differences, 0)
        assert len(differences) >= least


class TestClosedLoop:
    @pytest.mark.parametrize("network", ["streamed", "gru", "lstm"])
    def test_two_hundred_windows(self, quantize, network):
        for item in quantize([network], steps=200):
            model = item.model
            interpreter = EspdlInterpreter(model, item.target)
            caches = {name: np.zeros_like(external(model, name, item.inputs[name])[:1]) for name in item.feedback}
            state, differences = interpreter.initial_state(1), 0
            for step in range(200):
                fresh = {n: external(model, n, v)[step : step + 1] for n, v in item.inputs.items() if n not in caches}
                outputs, state = interpreter.step({**fresh, **caches}, state)
                caches = {name: outputs[following] for name, following in item.feedback.items()}
                expected = {n: external(model, n, v)[step : step + 1] for n, v in item.outputs.items()}
                differences += sum(int((outputs[name] != expected[name]).sum()) for name in outputs)
            assert differences == 0

    def test_a_batch_equals_its_recordings(self, operators):
        item = operators["streamed", "esp32s3"]
        interpreter = EspdlInterpreter(item.model, item.target)
        inputs = {name: external(item.model, name, values) for name, values in item.inputs.items()}
        together, _ = interpreter.step(inputs, {})
        for index in range(len(inputs["x"])):
            alone, _ = interpreter.step({name: values[index : index + 1] for name, values in inputs.items()}, {})
            for name, values in alone.items():
                np.testing.assert_array_equal(values[0], together[name][index])


class TestInterface:
    def test_is_an_integer_stream(self, operators):
        item = operators["conv", "esp32s3"]
        assert isinstance(EspdlInterpreter(item.model, item.target), IntegerStream)

    def test_arguments_are_not_changed(self, operators):
        item = operators["streamed", "esp32s3"]
        interpreter = EspdlInterpreter(item.model, item.target)
        inputs = {name: external(item.model, name, values).copy() for name, values in item.inputs.items()}
        before = {name: values.copy() for name, values in inputs.items()}
        interpreter.step(inputs, {})
        assert set(inputs) == set(before)
        for name, values in inputs.items():
            np.testing.assert_array_equal(values, before[name])

    def test_taps_give_any_tensor(self, operators):
        item = operators["conv_relu", "esp32s3"]
        interpreter = EspdlInterpreter(item.model, item.target)
        x = external(item.model, "x", item.inputs["x"])
        trace = interpreter.trace({"x": x}, {}, taps=["x", "y"])
        np.testing.assert_array_equal(trace.values["x"], x)
        np.testing.assert_array_equal(trace.values["y"], trace.outputs["y"])
        with pytest.raises(EspdlError, match=r"taps: \['nowhere'\]"):
            interpreter.trace({"x": x}, {}, taps=["nowhere"])

    def test_wrong_inputs(self, operators):
        item = operators["conv", "esp32s3"]
        interpreter = EspdlInterpreter(item.model, item.target)
        x = external(item.model, "x", item.inputs["x"])
        with pytest.raises(EspdlError, match=r"'x' is missing; the model takes \['x'\]"):
            interpreter.step({}, {})
        with pytest.raises(EspdlError, match=r"float32 .* says int8 of shape \('batch', 16, 8\)"):
            interpreter.step({"x": x.astype(np.float32)}, {})
        with pytest.raises(EspdlError, match=r"shape \(8, 8, 16\); the file says"):
            interpreter.step({"x": x.transpose(0, 2, 1)}, {})

    def test_unknown_target(self, operators):
        with pytest.raises(UnknownTargetError, match="esp8266"):
            EspdlInterpreter(operators["conv", "esp32s3"].model, "esp8266")


class TestRefusals:
    @pytest.mark.parametrize("network", list(REFUSED))
    def test_what_the_chip_gets_wrong(self, quantize, network):
        (item,) = quantize([network], ("esp32s3",))
        with pytest.raises(EspdlOperatorError, match=REFUSED[network]):
            EspdlInterpreter(item.model, "esp32s3")


class TestAccumulators:
    def test_peak_is_followed_product_by_product(self, operators):
        item = operators["linear", "esp32s3"]
        model = item.model
        x = external(model, "x", item.inputs["x"])
        gemm = model.operators[0]
        interpreter = EspdlInterpreter(model, "esp32s3")
        peaks = interpreter.trace({"x": x}, {}, peaks={gemm.name: 0}).peaks
        assert interpreter.accumulating == ("/0/Gemm", "/2/Gemm")
        weight, bias = (model.tensors[name].data.astype(np.int64) for name in gemm.inputs[1:])
        partial = np.cumsum(x[:, :, None] * weight, axis=1) + bias
        assert peaks == {gemm.name: max(partial.max(), -1 - partial.min(), bias.max(), -1 - bias.min())}
        # A peak that is known already is kept, and nothing is followed that was not asked for.
        assert interpreter.trace({"x": x}, {}, peaks={gemm.name: 10**6}).peaks == {gemm.name: 10**6}
        assert interpreter.trace({"x": x}, {}).peaks == {}

    def test_twenty_bits_are_checked_on_the_s3_alone(self, quantize):
        (item,) = quantize(["wide"], ("esp32s3",))
        x = np.full_like(external(item.model, "x", item.inputs["x"]), 127)
        with pytest.raises(EspdlOperatorError, match=r"accumulator reaches .* holds at most 524287"):
            EspdlInterpreter(item.model, "esp32s3", check_accumulators=True).step({"x": x}, {})
        EspdlInterpreter(item.model, "esp32c3", check_accumulators=True).step({"x": x}, {})
