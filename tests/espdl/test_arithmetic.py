"""Rounding per family of chips, against exact fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from lightning_esp.errors import UnknownTargetError
from lightning_esp.espdl.arithmetic import chip_rules, saturate

UP, EVEN = chip_rules("esp32s3"), chip_rules("esp32p4")


def round_exactly(value: Fraction, half_even: bool) -> int:
    return round(value) if half_even else math.floor(value + Fraction(1, 2))


class TestRound:
    def test_ties(self):
        values = np.array([0.5, 1.5, 2.5, -0.5, -1.5, -2.5], np.float32)
        assert UP.round(values).tolist() == [1, 2, 3, 0, -1, -2]
        assert EVEN.round(values).tolist() == [0, 2, 2, 0, -2, -2]

    @pytest.mark.parametrize("rules", [UP, EVEN], ids=["half up", "half even"])
    def test_eighths(self, rules):
        values = np.arange(-4000, 4000, dtype=np.float32) / 8
        expected = [round_exactly(Fraction(int(value * 8), 8), rules.half_even) for value in values]
        assert rules.round(values).tolist() == expected

    def test_half_even_takes_the_smallest_step_beyond_a_tie_for_a_tie(self):
        beyond = np.nextafter(np.float32([2.5, -2.5]), np.float32([3, -3]))
        assert EVEN.round(beyond).tolist() == [2, -2]
        assert EVEN.round(np.float32([2.50001, 2.49999])).tolist() == [3, 2]

    def test_half_up_adds_the_half_in_double(self):
        just_below = np.nextafter(np.float32(0.5), np.float32(0))
        assert UP.round(np.array([just_below])).tolist() == [1]

    def test_quantize_saturates(self):
        values = np.array([1e9, -1e9, 126.6, 3e38, -np.inf], np.float32)
        assert UP.quantize(values, np.dtype("int8")).tolist() == [127, -128, 127, 127, -128]


class TestShift:
    @pytest.mark.parametrize("rules", [UP, EVEN], ids=["half up", "half even"])
    @pytest.mark.parametrize("shift", [0, 1, 4, 9])
    def test_equals_exact_fractions(self, rules, shift):
        values = np.random.default_rng(shift).integers(-(2**20), 2**20, 500)
        expected = [round_exactly(Fraction(int(value), 1 << shift), rules.half_even) for value in values]
        assert rules.shift(values.astype(np.float64), shift).tolist() == expected

    def test_per_channel(self):
        values = np.full((2, 3), 12.0)
        assert UP.shift(values, np.array([1, 3, 4])).tolist() == [[6, 2, 1]] * 2
        assert EVEN.shift(values, np.array([1, 3, 4])).tolist() == [[6, 2, 1]] * 2


class TestChips:
    def test_families(self):
        even = {name for name in ("esp32s3", "esp32p4", "esp32s31", "esp32", "esp32c6") if chip_rules(name).half_even}
        assert even == {"esp32p4", "esp32s31"}

    def test_accumulators(self):
        assert UP.accumulator_limit(np.dtype("int8")) == 1 << 19
        assert UP.accumulator_limit(np.dtype("int16")) == 1 << 39
        assert EVEN.accumulator_limit(np.dtype("int8")) is None

    def test_unknown(self):
        with pytest.raises(UnknownTargetError):
            chip_rules("esp32h2")


def test_saturate_of_integers():
    assert saturate(np.array([-40000, 5, 40000]), np.dtype("int16")).tolist() == [-32768, 5, 32767]
