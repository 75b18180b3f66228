"""Float values to integers and back, rounded as the chip rounds."""

import numpy as np
import pytest

from lightning_esp.quantization import TensorInfo
from lightning_esp.quantization.values import dequantize_values, quantize_start, quantize_values, regrid

PLAIN = TensorInfo("x", (1, 5), "int8", 0, (0, 1), None)
HALVES = np.array([[0.5, 1.5, 2.5, -0.5, -1.5]], dtype=np.float32)


@pytest.mark.parametrize("target", ["esp32s3", "esp32", "esp32c3", "esp32s2", "esp32c6"])
def test_halves_go_up(target: str) -> None:
    assert quantize_values(HALVES, PLAIN, target).tolist() == [[1, 2, 3, 0, -1]]


@pytest.mark.parametrize("target", ["esp32p4", "esp32s31"])
def test_halves_go_to_even(target: str) -> None:
    assert quantize_values(HALVES, PLAIN, target).tolist() == [[0, 2, 2, 0, -2]]


@pytest.mark.parametrize(("dtype", "low", "high"), [("int8", -128, 127), ("int16", -32768, 32767)])
def test_values_beyond_the_range_are_clipped(dtype: str, low: int, high: int) -> None:
    tensor = TensorInfo("x", (1, 2), dtype, -8, (0, 1), None)
    found = quantize_values(np.array([[-1e6, 1e6]]), tensor, "esp32s3")
    assert found.dtype == dtype
    assert found.tolist() == [[low, high]]


@pytest.mark.parametrize("exponent", [-7, 0, 3])
def test_layouts_turn_and_turn_back(exponent: int) -> None:
    tensor = TensorInfo("x", (1, 4, 5, 3), "int16", exponent, (0, 2, 3, 1), 1)
    integers = np.random.default_rng(0).integers(-2000, 2000, (2, 4, 5, 3)).astype(np.int16)
    real = dequantize_values(integers, tensor)
    assert real.shape == (2, 3, 4, 5)
    assert real[1, 2, 3, 4] == integers[1, 3, 4, 2] * 2.0**exponent
    assert np.array_equal(quantize_values(real, tensor, "esp32s3"), integers)
    assert np.array_equal(regrid(real, tensor), integers)


def test_float_tensors_are_only_turned() -> None:
    tensor = TensorInfo("x", (1, 3, 2), "float32", 0, (0, 2, 1), 1)
    values = np.random.default_rng(0).standard_normal((1, 2, 3)).astype(np.float32)
    turned = quantize_values(values, tensor, "esp32s3")
    assert np.array_equal(turned, values.transpose(0, 2, 1))
    assert np.array_equal(dequantize_values(turned, tensor), values)
    assert np.array_equal(regrid(values, tensor), turned)


def test_a_start_value_beyond_the_range_is_the_nearest_integer() -> None:
    tensor = TensorInfo("x.past", (1, 4, 2), "int8", -3, (0, 1, 2), None)
    assert [quantize_start(value, tensor) for value in (0.5, -100.0, 1e9)] == [4, -128, 127]
    assert quantize_start(-100.0, TensorInfo("x.past", (1, 4, 2), "int16", -3, (0, 1, 2), None)) == -800
