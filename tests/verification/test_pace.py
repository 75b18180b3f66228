"""Whether a chip keeps up with its sound, by the cost of front end and network, and has the training's features."""

import pytest

from lightning_esp.chips import SOFT_FLOAT_TARGETS, TARGETS
from lightning_esp.cost import (
    MEGAHERTZ,
    Estimate,
    FrontEndLoad,
    LayerEstimate,
    StageEstimate,
    Work,
    front_end_us,
    network_us,
)
from lightning_esp.verification.pace import keeps_up, same_features

FLOAT, FIXED = FrontEndLoad(512, 40), FrontEndLoad(512, 40, "fixed_point")


def estimate(target: str, microseconds: float | None) -> Estimate:
    return Estimate(target, (StageEstimate("stage", microseconds, 0, 0, 0, 0, 0, ()),), 0, None)


def test_a_float_front_end_in_software_leaves_no_room() -> None:
    proof = keeps_up(estimate("esp32c3", None), 1, 10_000, FLOAT)
    assert proof.state == "amber"
    assert proof.figure == pytest.approx(0.9)
    assert (
        "the front end alone takes 9.0 ms at least, 90% of the 10 ms from frame to frame, since esp32c3" in proof.doubt
    )


@pytest.mark.parametrize("target", SOFT_FLOAT_TARGETS)
def test_in_fixed_point_it_does(target: str) -> None:
    proof = keeps_up(estimate(target, None), 1, 10_000, FIXED)
    assert proof.state == "green"
    assert 0 < proof.figure < keeps_up(estimate(target, None), 1, 10_000, FLOAT).figure / 20


def test_a_longer_shift_or_a_faster_chip_leaves_room() -> None:
    for target, period in (("esp32c3", 20_000), ("esp32s2", 10_000)):
        assert keeps_up(estimate(target, None), 1, period, FLOAT).state == "green"


@pytest.mark.parametrize(("window", "state"), [(1, "amber"), (2, "green")])
def test_a_network_has_the_time_of_its_window(window: int, state: str) -> None:
    proof = keeps_up(estimate("esp32s3", 12_000), window, 10_000, FLOAT)
    assert proof.state == state
    assert proof.figure == pytest.approx(1.2 / window + 0.0205)
    assert ("front end (205 us) and network (12000 us a window) are estimated to take 122%" in proof.doubt) == (
        state == "amber"
    )


def test_a_network_counts_on_a_chip_without_public_times() -> None:
    """By its multiplications: those of the counted network take what was counted, here 432,000 clocks."""
    layer = LayerEstimate("all", None, Work(calls=45, dense=60160, depthwise=3200), 0)
    network = Estimate("esp32c3", (StageEstimate("stage", None, 0, 0, 0, 0, 0, (layer,)),), 0, None)
    assert network_us(network) == pytest.approx(432_000 / 160)
    assert keeps_up(network, 1, 10_000, FIXED).figure == pytest.approx(0.27 + 0.04251, abs=1e-4)
    assert keeps_up(network, 2, 10_000, FIXED).figure == pytest.approx(0.135 + 0.04251, abs=1e-4)
    assert "(2700 us a window) are estimated to take 104% of the 3 ms" in keeps_up(network, 1, 3_000, FIXED).doubt


def test_the_front_end_counts_on_every_chip() -> None:
    times = {target: front_end_us(target, FLOAT) for target in TARGETS}
    assert min(times.values()) > 0
    assert times["esp32p4"] < times["esp32s31"] < times["esp32s3"] < times["esp32c5"] < times["esp32c3"]


def test_a_shift_too_short_is_named() -> None:
    proof = keeps_up(estimate("esp32c3", None), 1, 400, FIXED)
    assert proof.doubt.endswith("106% of the 0.4 ms from frame to frame; use a longer FeatureConfig(frame_shift=...)")


def test_a_frame_of_twice_the_points_takes_more_than_twice_the_time() -> None:
    for load in ("float", "fixed_point"):
        short, long = (front_end_us("esp32c6", FrontEndLoad(points, 0, load)) for points in (512, 1024))
        assert 2 * short < long < 2.3 * short


def test_the_table_names_every_chip() -> None:
    assert sorted(MEGAHERTZ) == sorted(TARGETS)
    assert set(SOFT_FLOAT_TARGETS) < set(TARGETS)


def test_features_far_from_float_are_doubted() -> None:
    near, far = same_features([0.01, 0.02], 0.05), same_features([0.01, 0.3, 0.2], 0.05)
    assert (near.state, near.figure, near.where) == ("green", 0.02, "")
    assert (far.state, far.figure, far.where) == ("amber", 0.3, "recording 1")
    assert "in 2 of 3 recordings" in far.doubt
