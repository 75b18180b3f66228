"""The calibration set holds each window with the very state that it meets on the device."""

import pytest
import torch
from torch import Tensor

from lightning_esp import Calibration, Streaming, calibrate, convert
from lightning_esp.calibration import CalibrationSet
from lightning_esp.conversion import Recordings, StreamingModel
from lightning_esp.conversion.slicing import as_named
from lightning_esp.errors import DataError
from tests.models.contracts import CASES
from tests.models.tutorial_tcn import TutorialTcn, shake

ALL = Calibration(max_recordings=10_000, max_windows=1_000_000)


def model_of(name: str) -> StreamingModel:
    case = CASES[name]
    return convert(case.module(), case.recordings(40)[0], case.streaming)


@torch.inference_mode()
def loop(model: StreamingModel, recordings: Recordings, *, reuse: bool = False) -> list[dict[str, Tensor]]:
    """One window after another, recording by recording; with `reuse`, caches live on into the next recording."""
    caches = model.initial_caches()
    windows = []
    for recording in recordings:
        if not reuse:
            caches = model.initial_caches()
        named = {name: value.unsqueeze(0) for name, value in as_named(model.spec, recording).items()}
        lead = model.spec.stream_inputs[0]
        for start in range(0, named[lead.name].shape[lead.time_axis] - model.window + 1, model.window):
            window = {
                port.name: named[port.name]
                if port.time_axis is None
                else named[port.name].narrow(port.time_axis, start, model.window)
                for port in model.spec.inputs
            }
            windows.append({**window, **caches})
            _, caches = model.step(window, caches)
    return windows


def rows(windows: list[dict[str, Tensor]]) -> Tensor:
    """All values of a window in one row; rows sorted, since the order of windows means nothing."""
    return sort(torch.stack([torch.cat([window[name].flatten() for name in sorted(window)]) for window in windows]))


def rows_of(found: CalibrationSet) -> Tensor:
    return sort(torch.cat([found.values[name].flatten(1) for name in sorted(found.values)], dim=1))


def sort(values: Tensor) -> Tensor:
    # By a model input: caches hold what is computed, and may differ in the last bit.
    return values[torch.argsort(values[:, -1])]


LENGTHS = (40, 41, 5, 40, 23, 1, 12)


@pytest.mark.parametrize("name", CASES)
def test_equals_a_plain_loop_over_slices(name: str) -> None:
    model, recordings = model_of(name), CASES[name].recordings(*LENGTHS)
    found, expected = calibrate(model, recordings, ALL), loop(model, recordings)
    assert len(found) == found.windows == len(expected)
    assert set(found.values) == {*(p.name for p in model.spec.inputs), *(c.name for c in model.spec.caches)}
    mine = {key: value.flatten(1) for key, value in found.values.items()}
    for window in expected:
        # The window with the same input exists, and it met the same caches.
        same = torch.ones(len(found), dtype=torch.bool)
        for port in model.spec.inputs:
            same &= (mine[port.name] == window[port.name].flatten()).all(dim=1)
        assert same.sum() == 1
        for cache in model.spec.caches:
            gap = (mine[cache.name][same] - window[cache.name].flatten()).abs().max()
            assert gap <= 1e-5 * max(1.0, float(window[cache.name].abs().max()))


def test_every_recording_starts_from_zero_state() -> None:
    # A loop that keeps its caches from one recording to the next calibrates with states that no recording meets.
    model, recordings = model_of("two_caches"), CASES["two_caches"].recordings(12, 12)
    found = rows_of(calibrate(model, recordings, ALL))
    assert torch.allclose(found, rows(loop(model, recordings)), atol=1e-5)
    assert not torch.allclose(found, rows(loop(model, recordings, reuse=True)), atol=1e-2)


def test_each_stage_sees_the_streamed_output_of_the_one_before() -> None:
    torch.manual_seed(0)
    module, recordings = shake(TutorialTcn(8, 16)), [torch.randn(8, 30)]
    stages = ["stage0", "stage1", "stage2"]
    found = calibrate(convert(module, recordings[0], Streaming(window=3, stages=stages)), recordings, ALL)
    with torch.no_grad():
        offline = module.stage1(module.stage0(recordings[0].unsqueeze(0)))
    # The last stage's cache holds the four frames before its window, and zeros before the first.
    caches, frames = found.values["stage2.cache"], torch.cat([torch.zeros(1, 8, 4), offline], dim=2)
    assert not caches[0].any()
    for index, cache in enumerate(caches):
        assert torch.allclose(cache, frames[0, :, 3 * index : 3 * index + 4], atol=1e-5)


def test_a_remainder_is_dropped_and_counted() -> None:
    model = model_of("tutorial")
    found = calibrate(model, CASES["tutorial"].recordings(6, 8, 2), ALL)
    assert (found.windows, found.recordings, found.short_recordings) == (4, 2, 1)
    assert found.dropped_frames == 2 + 2


def test_keeps_a_seeded_choice_of_windows() -> None:
    model, recordings = model_of("two_caches"), CASES["two_caches"].recordings(40, 30, 20)
    everything = rows_of(calibrate(model, recordings, ALL))
    first, again, other = (calibrate(model, recordings, Calibration(max_windows=10, seed=seed)) for seed in (3, 3, 4))
    assert len(first) == 10
    assert first.windows == 45
    assert all(torch.equal(first.values[name], again.values[name]) for name in first.values)
    assert not torch.equal(rows_of(first), rows_of(other))
    # They are windows of the whole set, with the state that they meet there.
    assert torch.cdist(rows_of(first).double(), everything.double()).min(dim=1).values.max() < 1e-5


def test_chooses_recordings_by_seed() -> None:
    model = model_of("stateless")
    recordings = [torch.full((8, 4), float(i)) for i in range(20)]

    def chosen(seed: int) -> set[float]:
        found = calibrate(model, recordings, Calibration(max_recordings=5, seed=seed))
        assert found.recordings == 5
        return set(found.values["x"].flatten().tolist())

    assert len(chosen(0)) == 5
    assert chosen(0) == chosen(0)
    assert chosen(0) != chosen(1)


def test_all_recordings_that_are_asked_for_are_used() -> None:
    recordings = [torch.full((8, 4), float(i)) for i in range(7)]
    found = calibrate(model_of("stateless"), recordings, Calibration(max_recordings=7))
    assert set(found.values["x"].flatten().tolist()) == set(map(float, range(7)))


def test_leaves_torch_as_it_was() -> None:
    model, recordings = model_of("two_caches"), CASES["two_caches"].recordings(40, 30)
    before = torch.get_rng_state()
    found = calibrate(model, recordings, Calibration(max_recordings=1, max_windows=3))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(value.dtype == torch.float32 for value in found.values.values())


def test_shows_progress() -> None:
    seen: list[tuple[str, int, int]] = []
    calibrate(model_of("stateless"), [torch.randn(8, 6)], progress=lambda *step: seen.append(step))
    assert seen == [("calibrate", 1, 3), ("calibrate", 2, 3), ("calibrate", 3, 3)]


def test_recordings_shorter_than_a_window_are_refused() -> None:
    module, recordings = CASES["tutorial"].module(), CASES["tutorial"].recordings(2, 1, 2)
    model = convert(module, torch.randn(8, 20), CASES["tutorial"].streaming)
    message = (
        r"all 3 calibration recordings are shorter than one window of 3 frames \(the longest has 2\); give longer "
        r"recordings, or a smaller Streaming\(window=\.\.\.\)"
    )
    with pytest.raises(DataError, match=message):
        calibrate(model, recordings)
    # Both pieces of advice.
    assert len(calibrate(model, CASES["tutorial"].recordings(3))) == 1
    assert len(calibrate(convert(module, torch.randn(8, 20), Streaming(window=1, stages=["stage0"])), recordings)) == 5


def test_no_data_is_refused() -> None:
    with pytest.raises(DataError, match="there are no recordings; give at least one"):
        calibrate(model_of("stateless"), [])


def test_nan_is_refused() -> None:
    bad = torch.zeros(8, 4)
    bad[1, 2] = float("nan")
    with pytest.raises(DataError, match=r"recording 1: input 'x' has 1 NaN or infinite"):
        calibrate(model_of("stateless"), [torch.zeros(8, 4), bad])
