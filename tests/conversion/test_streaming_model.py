"""The float model: what it steps through equals the offline module."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from lightning_esp import Streaming, convert
from lightning_esp.conversion.geometry import as_tuple
from lightning_esp.conversion.slicing import pad_frames, slice_windows
from lightning_esp.conversion.spec import Port, StreamSpec
from tests.models.contracts import CASES
from tests.models.tutorial_tcn import TutorialTcn, shake


def assert_parity(streamed: Tensor | tuple[Tensor, ...], offline: Tensor | tuple[Tensor, ...], limit: float) -> None:
    for ours, theirs in zip(as_tuple(streamed), as_tuple(offline), strict=True):
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max() <= limit * max(1.0, float(theirs.abs().max()))


@pytest.mark.parametrize("frames", [40, 41, 7])
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("name", CASES)
def test_streams_what_the_module_computes_offline(name: str, dtype: torch.dtype, limit: float, frames: int) -> None:
    case = CASES[name]
    module = case.module().to(dtype)
    batch = {
        key: torch.randn(3, *shape, dtype=dtype, generator=torch.Generator().manual_seed(5))
        for key, shape in case.shapes(frames).items()
    }
    model = convert(module, {key: value[:1] for key, value in batch.items()}, case.streaming)
    with torch.no_grad():
        assert_parity(model.run(batch), module(*batch.values()), limit)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_streams_the_tutorial_at_its_full_size(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    module = shake(TutorialTcn()).to(dtype)
    batch = torch.randn(2, 64, 50, dtype=dtype)
    model = convert(module, batch[:1], Streaming(window=3, stages=["stage0", "stage1", "stage2"]))
    assert [stage.name for stage in model.spec.stages] == ["stage0", "stage1", "stage2"]
    assert {c.name: c.shape for c in model.spec.caches} == {"stage0.cache": (1, 128, 4), "stage2.cache": (1, 64, 4)}
    with torch.no_grad():
        assert_parity(model.run(batch), module(batch), 1e-5 if dtype is torch.float32 else 1e-10)


@pytest.mark.parametrize("window", [1, 2, 5, 40, 64])
def test_any_window_gives_the_same_output(window: int) -> None:
    module = CASES["two_caches"].module()
    batch = torch.randn(2, 8, 40, generator=torch.Generator().manual_seed(0))
    model = convert(module, batch[:1], Streaming(window=window))
    assert model.window == window
    with torch.no_grad():
        assert_parity(model.run(batch), module(batch), 1e-5)


def test_step_by_step_equals_run() -> None:
    module = CASES["two_caches"].module()
    batch = torch.randn(2, 8, 12, generator=torch.Generator().manual_seed(0))
    model = convert(module, batch[:1], Streaming(window=4))
    caches, outputs = model.initial_caches(2), []
    for window in batch.split(4, dim=2):
        given = {n: v.clone() for n, v in caches.items()}
        output, after = model.step(window, caches)
        assert all(torch.equal(caches[n], given[n]) for n in given), "a step must not change its arguments"
        caches = after
        outputs.append(output)
    assert torch.equal(torch.cat(outputs, dim=2), model.run(batch))
    assert not outputs[-1].requires_grad, "the model is trained already: steps must not build up a graph"


def test_every_recording_starts_from_zero_state() -> None:
    model = convert(CASES["two_caches"].module(), torch.randn(1, 8, 20), Streaming(window=2))
    batch = torch.randn(1, 8, 20, generator=torch.Generator().manual_seed(0))
    first = model.run(batch)
    model.run(100 * batch)
    assert torch.equal(model.run(batch), first)
    assert all(not value.any() for value in model.initial_caches(3).values())
    assert {len(value) for value in model.initial_caches(3).values()} == {3}


def test_a_module_without_padding_is_streamed_late() -> None:
    model = convert(CASES["valid"].module(), torch.randn(8, 30), Streaming(window=3))
    assert (model.spec.trim, model.delay) == (2, 2)
    assert model.run(torch.randn(1, 8, 30)).shape == (1, 8, 28)


@pytest.mark.parametrize(("frames", "windows", "output_frames"), [(1, 1, 1), (3, 1, 3), (4, 2, 4), (300, 100, 300)])
def test_counts_windows_and_frames(frames: int, windows: int, output_frames: int) -> None:
    port, out = Port("x", (1, 2, 3), 2), Port("output", (1, 5, 3), 2)
    spec = StreamSpec(3, 1, (port,), (out,), ())
    assert spec.windows(frames) == windows
    assert spec.output_frames(out, frames) == output_frames


def test_counts_the_windows_that_flush_a_delay() -> None:
    port, out = Port("x", (1, 2, 3), 2), Port("output", (1, 5, 3), 2)
    spec = replace(StreamSpec(3, 1, (port,), (out,), ()), delay=4)
    # Six output frames come four late: ten frames are four windows.
    assert spec.windows(6) == 4


def test_slices_fill_up_with_zero_frames_and_repeat_what_is_held() -> None:
    ports = (Port("x", (1, 2, 3), 2), Port("held", (1, 2, 1), None))
    spec = StreamSpec(3, 1, ports, (Port("output", (1, 5, 3), 2),), ())
    x, held = torch.ones(1, 2, 4), torch.full((1, 2, 1), 7.0)
    first, last = slice_windows(spec, {"x": x, "held": held})
    assert torch.equal(first["x"], torch.ones(1, 2, 3))
    assert torch.equal(last["x"], torch.tensor([[[1.0, 0, 0], [1, 0, 0]]]))
    assert torch.equal(first["held"], held)
    assert torch.equal(last["held"], held)
    assert pad_frames(x, 2, 3) is x


def test_a_batch_may_shrink_and_the_first_recordings_go_on() -> None:
    torch.manual_seed(0)
    network, recordings = nn.Sequential(nn.Conv1d(3, 4, 5), nn.ReLU(), nn.Conv1d(4, 2, 3)), torch.randn(2, 3, 12)
    model = convert(network, recordings[0])
    whole = slice_windows(model.spec, {"input": recordings})
    windows = [{"input": w["input"] if i < 6 else w["input"][:1]} for i, w in enumerate(whole)]
    alone = list(model.stream(slice_windows(model.spec, {"input": recordings[:1]})))
    both = list(model.stream(windows))
    assert len(both) == len(alone) > 6
    for index, ((caches, values), (own_caches, own_values)) in enumerate(zip(both, alone, strict=True)):
        assert len(values["output"]) == (2 if index < 6 else 1)
        torch.testing.assert_close(values["output"][:1], own_values["output"])
        for name, cache in caches.items():
            torch.testing.assert_close(cache[:1], own_caches[name])


def test_a_stream_begins_in_the_state_that_it_is_given() -> None:
    torch.manual_seed(0)
    recording = torch.randn(3, 12)
    model = convert(nn.Conv1d(3, 4, 5), recording)
    windows = slice_windows(model.spec, {"input": recording[None]})
    steps = list(model.stream(windows))
    state = steps[7][0]
    (_, values), *_ = model.stream(windows[7:], state)
    torch.testing.assert_close(values["output"], steps[7][1]["output"])
    (_, fresh), *_ = model.stream(windows[7:])
    assert not torch.equal(fresh["output"], values["output"])
