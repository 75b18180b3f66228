"""Whether a chip keeps up with its sound: what the front end takes in soft float, and the network by the estimate."""

import pytest

from lightning_esp.config import TARGETS
from lightning_esp.cost import SOFT_FLOAT_MHZ, Estimate, StageEstimate, front_end_us
from lightning_esp.verification.pace import keeps_up


def estimate(target: str, microseconds: float | None) -> Estimate:
    return Estimate(target, (StageEstimate("stage", microseconds, 0, 0, 0, 0, 0, ()),), 0, None)


def test_the_front_end_of_a_chip_without_floats_leaves_no_room() -> None:
    proof = keeps_up(estimate("esp32c3", None), 1, 10_000, 512)
    assert proof is not None
    assert proof.state == "amber"
    assert proof.figure == pytest.approx(0.9)
    assert (
        "the front end alone takes 9.0 ms at least, 90% of the 10 ms from frame to frame, since esp32c3" in proof.doubt
    )


def test_a_longer_shift_or_a_faster_chip_leaves_room() -> None:
    for target, period in (("esp32c3", 20_000), ("esp32s2", 10_000)):
        proof = keeps_up(estimate(target, None), 1, period, 512)
        assert proof is not None
        assert proof.state == "green"


@pytest.mark.parametrize(("window", "state"), [(1, "amber"), (2, "green")])
def test_a_network_has_the_time_of_its_window(window: int, state: str) -> None:
    proof = keeps_up(estimate("esp32s3", 12_000), window, 10_000, 512)
    assert proof is not None
    assert proof.state == state
    assert proof.figure == pytest.approx(1.2 / window)
    assert ("the network, without the front end, is estimated to take 120%" in proof.doubt) == (state == "amber")


def test_nothing_is_said_where_no_cost_is_known() -> None:
    assert keeps_up(estimate("esp32", None), 1, 10_000, 512) is None


def test_a_frame_of_twice_the_points_takes_more_than_twice_the_time() -> None:
    short, long = front_end_us("esp32c6", 512), front_end_us("esp32c6", 1024)
    assert short is not None
    assert long is not None
    assert 2 * short < long < 2.3 * short


def test_the_table_names_chips_that_exist() -> None:
    assert set(SOFT_FLOAT_MHZ) < set(TARGETS)
