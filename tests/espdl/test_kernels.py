"""Kernels on hand-made models of one operator: what esp-ppq rarely writes, and what a wrong file would do."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lightning_esp.errors import EspdlOperatorError
from lightning_esp.espdl import EspdlInterpreter, EspdlModel
from lightning_esp.espdl.kernels import accumulator_bound, accumulator_peak
from tests.support.one_operator import parameter, single, spread, tensor


def run(model, target="esp32s3", **inputs):
    outputs, _ = EspdlInterpreter(model, target).step(inputs, {})
    return outputs[model.outputs[0]]


class TestBinary:
    def test_add_ignores_exponents_as_the_chip_does(self):
        model = single("Add", [tensor("a", (1, 3), exponent=-3), tensor("b", (1, 3), exponent=-5)], tensor("y", (1, 3)))
        assert run(model, a=np.int8([[1, 100, -100]]), b=np.int8([[2, 100, -100]])).tolist() == [[3, 127, -128]]

    @pytest.mark.parametrize("target", ["esp32s3", "esp32p4"])
    def test_mul_rounds_the_product(self, target):
        inputs = [tensor("a", (1, 256), exponent=-4), tensor("b", (1, 1), exponent=-3)]
        a = np.arange(-128, 128, dtype=np.int8)[None]
        y = run(single("Mul", inputs, tensor("y", (1, 256), exponent=-4)), target, a=a, b=np.int8([[4]]))
        exact = a.astype(float) * 4 / 8
        expected = np.rint(exact) if target == "esp32p4" else np.floor(exact + 0.5)
        np.testing.assert_array_equal(y, expected)

    @pytest.mark.parametrize(("target", "expected"), [("esp32s3", 32345), ("esp32p4", 32344)])
    def test_an_int16_product_is_rounded_to_float32_before_it_is_rounded_to_a_step(self, target, expected):
        # The product, 32344.49997 steps, is not a float32; the nearest one is the tie.
        assert math.floor(32725 * 32387 / 2**15 + 0.5) == 32344
        inputs = [tensor("a", (1, 1), "int16", -15), tensor("b", (1, 1), "int16", -15)]
        model = single("Mul", inputs, tensor("y", (1, 1), "int16", -15))
        assert run(model, target, a=np.int16([[32725]]), b=np.int16([[32387]])).tolist() == [[expected]]

    def test_div_of_and_by_zero(self):
        inputs = [tensor("a", (1, 6), exponent=-2), tensor("b", (1, 6), exponent=-2)]
        y = run(
            single("Div", inputs, tensor("y", (1, 6), exponent=-3)),
            a=np.int8([[0, 0, 7, -7, 6, 100]]),
            b=np.int8([[0, 5, 0, 0, 4, 1]]),
        )
        assert y.tolist() == [[0, 0, 127, -128, 12, 127]]

    def test_div_by_a_scalar_activation_is_refused(self):
        model = single("Div", [tensor("a", (1, 6)), tensor("b", (1, 1))], tensor("y", (1, 6)))
        with pytest.raises(EspdlOperatorError, match="b is an activation of one element"):
            EspdlInterpreter(model, "esp32s3")

    def test_broadcast_from_the_left(self):
        inputs = [tensor("a", (1, 2, 3)), parameter("b", np.int8([1, 2, 3]))]
        y = run(single("Add", inputs, tensor("y", (1, 2, 3))), a=np.zeros((2, 2, 3), np.int8))
        assert y.tolist() == [[[1, 2, 3]] * 2] * 2


class TestProducts:
    def test_negative_shift_is_refused(self):
        inputs = [tensor("x", (1, 4), exponent=-3), parameter("w", spread((4, 5)), exponent=-3)]
        model = single("Gemm", inputs, tensor("y", (1, 5), exponent=-8))
        with pytest.raises(EspdlOperatorError, match="finer than input plus weight exponent by 2 bits"):
            EspdlInterpreter(model, "esp32s3")

    def test_exact_where_float32_is_not(self):
        """Sums beyond 2^24 need float64 on the host; the chip's int32 has them exactly."""
        weight, x = np.full((4000, 1), 127, np.int8), np.full((1, 4000), 127, np.int8)
        x[0, 0] = 126
        inputs = [tensor("x", (1, 4000)), parameter("w", weight), parameter("b", np.int32([-(127 * 127 * 4000)]))]
        assert run(single("Gemm", inputs, tensor("y", (1, 1))), x=x).tolist() == [[-127]]

    @pytest.mark.parametrize("rows", [1, 51, 1003])
    def test_many_rows_are_multiplied_in_pieces(self, rows):
        weight, x = spread((80, 64)), spread((rows, 80), seed=1)
        inputs = [tensor("x", (1, 80)), parameter("w", weight)]
        y = run(single("Gemm", inputs, tensor("y", (1, 64), exponent=10)), x=x)
        exact = np.floor(x.astype(np.int64) @ weight / 1024 + 0.5)
        np.testing.assert_array_equal(y, np.clip(exact, -128, 127))
        assert np.abs(y).max() > 50

    def test_channels_have_shifts_of_their_own(self):
        inputs = [tensor("x", (1, 1), exponent=-2), parameter("w", np.int8([[10, 10, 10]]), exponent=(-1, -2, -3))]
        y = run(single("Gemm", inputs, tensor("y", (1, 3), exponent=0)), "esp32p4", x=np.int8([[2]]))
        assert y.tolist() == [[2, 1, 1]]

    @pytest.mark.parametrize("dtype", ["int8", "int16"])
    def test_matmul_with_stored_matrices(self, dtype):
        matrices, x = spread((2, 4, 3), dtype), spread((5, 2, 6, 4), dtype, seed=1)
        inputs = [tensor("x", (1, 2, 6, 4), dtype), parameter("w", matrices)]
        shift = 8 if dtype == "int8" else 18
        y = run(single("MatMul", inputs, tensor("y", (1, 2, 6, 3), dtype, exponent=shift)), x=x)
        sums = np.einsum("bnij,njk->bnik", x.astype(object), matrices.astype(object))
        limits = np.iinfo(dtype)
        expected = np.vectorize(lambda s: min(limits.max, max(limits.min, math.floor(s / 2**shift + 0.5))))(sums)
        np.testing.assert_array_equal(y, expected)

    @pytest.mark.parametrize(
        ("target", "columns"), [("esp32c3", 5), ("esp32s3", 5), ("esp32s3", 16), ("esp32s3", 32), ("esp32p4", 40)]
    )
    def test_matmul_of_two_activations_reads_packed_memory(self, target, columns):
        inputs = [tensor("a", (1, 2, 4, 6), exponent=-4), tensor("b", (1, 2, 6, columns), exponent=-4)]
        model = single("MatMul", inputs, tensor("y", (1, 2, 4, columns)))
        a, b = spread((1, 2, 4, 6)), spread((1, 2, 6, columns), seed=1)
        blocks = 0 if target == "esp32c3" else columns // 16
        rest = b[..., 16 * blocks :].swapaxes(2, 3).reshape(2, -1)
        packed = b[..., : 16 * blocks].reshape(2, 6, blocks, 16).swapaxes(1, 2).reshape(2, -1)
        memory = np.concatenate([packed, rest], axis=1).reshape(b.shape)
        exact = (a.astype(int) @ b.astype(int)) / 256
        expected = np.rint(exact) if target == "esp32p4" else np.floor(exact + 0.5)
        np.testing.assert_array_equal(run(model, target, a=a, b=memory), np.clip(expected, -128, 127))

    def test_an_accumulator_of_two_activations_is_bounded_for_any_of_them(self):
        inputs = [tensor("a", (1, 2, 3), exponent=-4), tensor("b", (3, 1), exponent=-4)]
        interpreter = EspdlInterpreter(single("MatMul", inputs, tensor("y", (1, 2, 1))), "esp32s3")
        node = interpreter.instructions[0].node
        assert accumulator_bound(node, -128, 127) == 3 * 128 * 128
        assert accumulator_bound(node, 0, 100) == 3 * 100 * 128
        # Of values that are known, what they sum to, whatever the second factor is.
        assert accumulator_peak(node, np.array([[[[1, -2, 0], [0, 2, 2]]]], np.int8)) == 4 * 128
        assert accumulator_peak(node, np.zeros((1, 1, 2, 3), np.int8), least=7) == 7
        # Of two that are known, what their products sum to whatever their signs and order.
        second = np.array([[[10], [-20], [5]]], np.int8)
        assert accumulator_peak(node, np.array([[[[1, -2, 0], [0, 2, 2]]]], np.int8), second=second) == 50

    def test_matmul_of_two_activations_in_plain_order_is_refused(self):
        inputs = [tensor("a", (1, 4, 6)), tensor("b", (1, 6, 5))]
        model = single("MatMul", inputs, tensor("y", (1, 4, 5)), input1_layout="native_kn")
        with pytest.raises(EspdlOperatorError, match="the second in plain order"):
            EspdlInterpreter(model, "esp32s3")
        column = [tensor("a", (1, 4, 6)), tensor("b", (1, 6, 1))]
        EspdlInterpreter(single("MatMul", column, tensor("y", (1, 4, 1)), input1_layout="native_kn"), "esp32s3")

    def test_mixed_types_are_refused(self):
        inputs = [tensor("x", (1, 4), "int16"), parameter("w", spread((4, 5)))]
        with pytest.raises(EspdlOperatorError, match="are mixed"):
            EspdlInterpreter(single("Gemm", inputs, tensor("y", (1, 5), "int16")), "esp32s3")


class TestTables:
    def test_int8_entry_by_entry(self):
        table = parameter("t", spread(256))
        x = np.arange(-128, 128, dtype=np.int8)[None]
        model = single("Sigmoid", [tensor("x", (1, 256))], tensor("y", (1, 256)), lut=table)
        np.testing.assert_array_equal(run(model, x=x)[0], table.data)

    @pytest.mark.parametrize(("target", "tie"), [("esp32s3", 2), ("esp32p4", 2), ("esp32c3", 2)])
    def test_int16_takes_the_nearest_entry(self, target, tie):
        table = parameter("t", np.arange(257).astype(np.int16))
        model = single("LUT", [tensor("x", (1, 6), "int16")], tensor("y", (1, 6), "int16"), lut=table)
        x = np.int16([[-32768, -32768 + 127, -32768 + 129, -32768 + 256 + 128, -32768 + 128, 32767]])
        first_tie = 0 if target == "esp32p4" else 1
        assert run(model, target, x=x).tolist() == [[0, 0, 1, tie, first_tie, 256]]

    def test_exponent_of_the_table_must_be_the_output_s(self):
        table = parameter("t", spread(256), exponent=-7)
        model = single("Tanh", [tensor("x", (1, 4))], tensor("y", (1, 4), exponent=-6), lut=table)
        with pytest.raises(EspdlOperatorError, match="ESP-DL asserts"):
            EspdlInterpreter(model, "esp32s3")

    @pytest.mark.parametrize(
        ("kind", "function"),
        [
            ("Sigmoid", lambda v: 1 / (1 + np.exp(-v))),
            ("Tanh", np.tanh),
            ("Swish", lambda v: v / (1 + np.exp(-v))),
            ("HardSwish", lambda v: v * np.clip(v / 6 + 0.5, 0, 1)),
            ("HardSigmoid", lambda v: np.clip(0.2 * v + 0.5, 0, 1)),
            ("Relu", lambda v: np.maximum(v, 0)),
            ("LeakyRelu", lambda v: np.where(v < 0, 0.01 * v, v)),
        ],
    )
    def test_int16_without_a_table_is_within_one_step(self, kind, function):
        x = spread((1, 500), "int16")
        model = single(kind, [tensor("x", (1, 500), "int16", -12)], tensor("y", (1, 500), "int16", -11))
        expected = np.clip(function(x / 4096.0) * 2048, -32768, 32767)
        assert np.abs(run(model, x=x) - expected).max() <= 1


class TestClip:
    def test_bounds_the_wrong_way_round(self):
        inputs = [
            tensor("x", (1, 5), "int16", -8),
            *(parameter(n, np.int16(v), -8) for n, v in (("low", 5), ("high", -5))),
        ]
        model = single("Clip", inputs, tensor("y", (1, 5), "int16", -8))
        assert run(model, x=np.int16([[-9, -5, 0, 5, 9]])).tolist() == [[5, 5, 5, -5, -5]]


class TestReductions:
    @pytest.mark.parametrize(("kind", "function"), [("ReduceMax", np.max), ("ReduceMin", np.min)])
    def test_extremes_are_raw_integers(self, kind, function):
        x = spread((3, 4, 5))
        inputs = [tensor("x", (1, 4, 5)), parameter("a", np.array([1]))]
        y = run(single(kind, inputs, tensor("y", (1, 5)), keepdims=0), x=x)
        np.testing.assert_array_equal(y, function(x, axis=1))

    @pytest.mark.parametrize(("target", "expected"), [("esp32s3", 3), ("esp32p4", 2)])
    def test_sum_is_shifted_and_rounded(self, target, expected):
        inputs = [tensor("x", (1, 4), exponent=-3), parameter("a", np.array([-1]))]
        y = run(single("ReduceSum", inputs, tensor("y", (1, 1), exponent=-2)), target, x=np.int8([[1, 2, 1, 1]]))
        assert y.tolist() == [[expected]]

    def test_mean_over_two_axes(self):
        x = spread((2, 4, 6, 5))
        inputs = [tensor("x", (1, 4, 6, 5), exponent=-4), parameter("a", np.array([1, 2]))]
        y = run(single("ReduceMean", inputs, tensor("y", (1, 1, 1, 5), exponent=-6)), x=x)
        exact = x.astype(float).mean(axis=(1, 2), keepdims=True) * 4
        np.testing.assert_array_equal(y, np.clip(np.floor(exact + 0.5), -128, 127))


class TestMovement:
    def test_views(self):
        x = spread((2, 3, 1, 4))
        source = tensor("x", (1, 3, 1, 4))
        views = {
            "Flatten": (single("Flatten", [source], tensor("y", ()), axis=2), (2, 3, 4)),
            "Squeeze": (single("Squeeze", [source, parameter("a", np.array([2]))], tensor("y", ())), (2, 3, 4)),
            "Unsqueeze": (
                single("Unsqueeze", [source, parameter("a", np.array([1]))], tensor("y", ())),
                (2, 1, 3, 1, 4),
            ),
            "Reshape": (
                single("Reshape", [source, parameter("a", np.array([0, -1]))], tensor("y", ()), allowzero=0),
                (2, 12),
            ),
        }
        for kind, (model, shape) in views.items():
            y = run(model, x=x)
            # Flatten before axis 2 folds the file's leading 1 into the rows.
            assert y.shape == shape, kind
            np.testing.assert_array_equal(y.reshape(-1), x.reshape(-1))

    def test_a_view_keeps_its_exponent(self):
        inputs = [tensor("x", (1, 4), exponent=-3), parameter("a", np.array([4]))]
        with pytest.raises(EspdlOperatorError, match="shares one buffer"):
            EspdlInterpreter(single("Reshape", inputs, tensor("y", (4,), exponent=-2)), "esp32s3")

    @pytest.mark.parametrize(("mode", "expected"), [("edge", [1, 1, 1, 2, 3]), ("reflect", [3, 2, 1, 2, 3])])
    def test_pad_modes(self, mode, expected):
        inputs = [tensor("x", (1, 3)), parameter("p", np.array([0, 2, 0, 0]))]
        assert run(single("Pad", inputs, tensor("y", (1, 5)), mode=mode), x=np.int8([[1, 2, 3]])).tolist() == [expected]

    def test_pad_with_a_value(self):
        inputs = [tensor("x", (1, 2)), parameter("p", np.array([0, 1, 0, 2])), parameter("v", np.int8([-9]))]
        y = run(single("Pad", inputs, tensor("y", (1, 5)), mode="constant"), x=np.int8([[1, 2]]))
        assert y.tolist() == [[-9, 1, 2, -9, -9]]

    def test_slice_with_a_step(self):
        numbers = [parameter(name, np.array([value])) for name, value in zip("seat", (1, 2**40, 1, 3), strict=True)]
        y = run(
            single("Slice", [tensor("x", (1, 8)), *numbers], tensor("y", (1, 3))), x=np.arange(8, dtype=np.int8)[None]
        )
        assert y.tolist() == [[1, 4, 7]]

    def test_slice_of_whole_axes_backwards(self):
        numbers = [
            parameter(name, np.array(values)) for name, values in zip("seat", ([-1], [-4], [2], [-1]), strict=True)
        ]
        x = np.arange(6, dtype=np.int8).reshape(1, 2, 3)
        y = run(single("Slice", [tensor("x", (1, 2, 3)), *numbers], tensor("y", (1, 2, 3))), x=x)
        assert y.tolist() == [[[2, 1, 0], [5, 4, 3]]]

    def test_split_that_esp_dl_reads_as_meant(self):
        outputs = (tensor("y", (1, 2)), tensor("z", (1, 2)))
        model = single("Split", [tensor("x", (1, 4))], outputs, axis=1, num_outputs=2)
        got, _ = EspdlInterpreter(model, "esp32s3").step({"x": np.int8([[1, 2, 3, 4]])}, {})
        assert {name: values.tolist() for name, values in got.items()} == {"y": [[1, 2]], "z": [[3, 4]]}

    def test_negation_saturates(self):
        assert run(single("Neg", [tensor("x", (1, 3))], tensor("y", (1, 3))), x=np.int8([[-128, 5, 127]])).tolist() == [
            [127, -5, -127]
        ]


class TestPools:
    @pytest.mark.parametrize("kind", ["AveragePool", "MaxPool"])
    def test_a_last_window_that_is_not_full_is_refused(self, kind):
        options = {"kernel_shape": (3,), "strides": (2,), "ceil_mode": 1}
        short = single(kind, [tensor("x", (1, 16, 4))], tensor("y", (1, 8, 4)), **options)
        with pytest.raises(EspdlOperatorError, match=r"ceil_mode is ignored .* the last 1 frame\(s\) would be lost"):
            EspdlInterpreter(short, "esp32s3")
        full = single(kind, [tensor("x", (1, 15, 4))], tensor("y", (1, 7, 4)), **options)
        assert run(full, x=spread((2, 15, 4))).shape == (2, 7, 4)

    @pytest.mark.parametrize(
        ("kind", "expected"), [("AveragePool", [[[0], [-32], [-31]]]), ("MaxPool", [[[5], [5], [5]]])]
    )
    def test_padding_counts_as_zero_in_a_mean_and_never_wins_a_maximum(self, kind, expected):
        options = {"kernel_shape": (3,), "strides": (1,), "pads": (1, 1)}
        model = single(kind, [tensor("x", (1, 3, 1))], tensor("y", (1, 3, 1)), **options)
        assert run(model, x=np.int8([[[-4], [5], [-98]]])).tolist() == expected


class TestConversion:
    @pytest.mark.parametrize(("target", "expected"), [("esp32s3", [[1, 1, 0, -1]]), ("esp32p4", [[0, 1, 0, -1]])])
    def test_requantize(self, target, expected):
        model = single("RequantizeLinear", [tensor("x", (1, 4), exponent=-4)], tensor("y", (1, 4), exponent=-2))
        assert run(model, target, x=np.int8([[2, 3, -2, -3]])).tolist() == expected

    def test_int16_to_int8_at_one_exponent_only_clips(self):
        model = single("RequantizeLinear", [tensor("x", (1, 3), "int16", -4)], tensor("y", (1, 3), "int8", -4))
        assert run(model, x=np.int16([[300, 5, -300]])).tolist() == [[127, 5, -128]]

    def test_float_and_back(self):
        model = single("QuantizeLinear", [tensor("x", (1, 5), "float32")], tensor("y", (1, 5), exponent=-1))
        x = np.float32([[0.25, 0.75, -0.25, 1e6, -1e6]])
        assert run(model, x=x).tolist() == [[1, 2, 0, 127, -128]]
        assert run(model, "esp32p4", x=x).tolist() == [[0, 2, 0, 127, -128]]
        back = single(
            "DequantizeLinear", [tensor("x", (1, 2), exponent=-3)], tensor("y", (1, 2), "float32"), quant_type="F32"
        )
        assert run(back, x=np.int8([[4, -1]])).tolist() == [[0.5, -0.125]]


class TestRefusals:
    def test_quant_type(self):
        model = single(
            "Conv", [tensor("x", (1, 4, 2)), parameter("w", spread((3, 2, 1)))], tensor("y", ()), quant_type="W8A16"
        )
        with pytest.raises(EspdlOperatorError, match=r"Conv 'op' .*quant_type 'W8A16'"):
            EspdlInterpreter(model, "esp32s3")

    def test_recurrent_layers_that_the_chip_does_not_run(self):
        inputs = [tensor("x", (2, 1, 3)), parameter("w", spread((1, 12, 3))), parameter("r", spread((1, 12, 4)))]
        model = single("GRU", inputs, (tensor("y", ()), tensor("h", ())), hidden_size=4)
        with pytest.raises(EspdlOperatorError, match="linear_before_reset must be 1"):
            EspdlInterpreter(model, "esp32s3")

    def test_unknown_tensor(self):
        model = single("Add", [tensor("a", (1, 3)), tensor("b", (1, 3))], tensor("y", (1, 3)))
        broken = EspdlModel(
            **{**vars(model), "tensors": {name: model.tensors[name] for name in "ay"}, "inputs": ("a",)}
        )
        with pytest.raises(EspdlOperatorError, match="nothing before it makes its input 'b'"):
            EspdlInterpreter(broken, "esp32s3")
