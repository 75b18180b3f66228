"""The model of time: what it is fitted to, and how far it can be trusted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lightning_esp.cost import TIMED_CHIPS, Work, chip_of, convolution
from lightning_esp.cost.chip import Figure, fit, leave_one_out, read_figures, reference_chip

# The published operator table, by shape.
TABLE = {
    "conv2d 1x1, 16 to 32 channels": convolution(16, 32, (1, 1), 20 * 20),
    "conv2d 3x3 stride 2, 32 to 16 channels": convolution(32, 16, (3, 3), 10 * 12),
    "conv2d 5x5 stride 2, 16 to 32 channels": convolution(16, 32, (5, 5), 11 * 11),
    "conv2d 3x3, 22 to 33 channels": convolution(22, 33, (3, 3), 19 * 23),
    "depthwise conv2d 3x3, 32 channels": convolution(1, 32, (3, 3), 98 * 48, depthwise=True),
    "depthwise conv2d 7x7, 25 channels": convolution(1, 25, (7, 7), 18 * 9, depthwise=True),
}


def test_every_figure_names_its_source() -> None:
    figures = read_figures()
    assert len({figure.name for figure in figures}) == len(figures)
    assert all(figure.source and (figure.microseconds or figure.instructions) for figure in figures)
    assert {chip for figure in figures for chip in figure.microseconds} == set(TIMED_CHIPS)


def test_the_work_of_the_operator_table_is_that_of_its_shapes() -> None:
    kernels = {figure.name: figure.work for figure in read_figures() if figure.alone}
    assert kernels == TABLE


def known(coefficients: tuple[float, ...], work: Work, alone: bool, name: str) -> Figure:
    amounts = (work.calls, work.dense, work.depthwise, work.written, alone)
    time = sum(c * a for c, a in zip(coefficients, amounts, strict=True))
    return Figure(name, alone, work, {"esp32s3": time}, None, "made up")


def test_a_fit_finds_the_coefficients_of_figures_without_error() -> None:
    truth = (12.0, 0.0006, 0.0025, 0.02, 80.0)
    figures = [known(truth, work, True, name) for name, work in TABLE.items()]
    figures += [known(truth, Work(n, 1000 * n * n, 70 * n, 3000), False, f"model {n}") for n in (5, 30, 90)]
    assert fit(figures, "esp32s3") == pytest.approx(truth, rel=1e-3)
    assert fit(figures, "esp32s3", call=12.0) == pytest.approx(truth, rel=1e-3)
    assert leave_one_out(figures, "esp32s3").worst < 1e-2


def test_no_coefficient_is_negative() -> None:
    # The bytes look as if they saved time.
    figures = [
        known((10.0, 0.001, 0.0, 0.0, 0.0), Work(1, 100 * n, 0, 1000 - n), False, f"{n}") for n in (100, 200, 400)
    ]
    figures.append(
        replace(figures[-1], name="odd", microseconds={"esp32s3": figures[-1].microseconds["esp32s3"] * 1.5})
    )
    assert min(fit(figures, "esp32s3")) >= 0


@pytest.mark.parametrize("target", TIMED_CHIPS)
def test_leave_one_out_predicts_each_figure_from_the_others(target: str) -> None:
    figures = [figure for figure in read_figures() if target in figure.microseconds]
    chip = chip_of(target)
    assert chip is not None
    assert chip.error.figures == len(figures)
    assert chip.error.worst_figure in {figure.name for figure in figures}
    assert 0 < chip.error.median <= chip.error.worst
    # The figure that is worst is off by as much when it is predicted by hand.
    (left,) = (figure for figure in figures if figure.name == chip.error.worst_figure)
    call = chip.call if target != "esp32s3" else None
    found = fit([figure for figure in figures if figure is not left], target, call)
    amounts = (left.work.calls, left.work.dense, left.work.depthwise, left.work.written, left.alone)
    predicted = sum(c * a for c, a in zip(found, amounts, strict=True))
    assert abs(predicted / left.microseconds[target] - 1) == pytest.approx(chip.error.worst, abs=1e-3)


def test_chips_without_figures_get_no_time() -> None:
    assert chip_of("esp32c3") is None
    assert chip_of("esp32") is None


def test_channels_that_are_not_multiples_of_16_cost_as_much_as_the_next_one() -> None:
    chip = chip_of("esp32s3")
    assert chip is not None
    full, odd, less = (chip.microseconds(convolution(n, n, (3,), 8)) for n in (32, 17, 16))
    assert odd == pytest.approx(full, rel=0.2)
    assert odd > 1.5 * less


def test_the_reference_chip_is_the_slowest_whatever_the_order() -> None:
    slow, fast = (chip_of(name) for name in TIMED_CHIPS)
    assert slow is not None
    assert fast is not None
    assert all(getattr(slow, name) > getattr(fast, name) for name in ("call", "dense", "depthwise", "written"))
    for names in (TIMED_CHIPS, TIMED_CHIPS[::-1], ("esp32c3", *TIMED_CHIPS[::-1])):
        assert reference_chip(*names) == slow
    assert reference_chip(fast.name, "esp32c3") == fast
