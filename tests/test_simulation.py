"""Integers behind an nn.Module: `QuantizedStreaming` and `simulate` take what the exported module takes."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_esp import Bundle, simulate
from lightning_esp.errors import BundleError, DataError
from lightning_esp.espdl.stream import IntegerStream
from lightning_esp.quantization import Worker
from lightning_esp.quantization.executor import ExecutorStream
from lightning_esp.simulation import IntegerRecorder, QuantizedStreaming, integer_windows, interpret
from lightning_esp.streaming.geometry import as_tuple
from tests.models.built import Built
from tests.models.contracts import CASES

Build = Callable[..., Built]


def batch_of(name: str, frames: int, size: int = 3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(11)
    return {n: torch.randn(size, *s, generator=generator) for n, s in CASES[name].shapes(frames).items()}


@pytest.mark.parametrize("frames", [40, 41, 7])
@pytest.mark.parametrize("name", CASES)
def test_takes_what_the_module_takes_and_gives_about_what_it_gives(build: Build, name: str, frames: int) -> None:
    built, batch = build(name), batch_of(name, frames)
    with torch.no_grad():
        offline = as_tuple(built.module(**batch))
    streamed = as_tuple(QuantizedStreaming(built.quantized)(*batch.values()))
    for theirs, ours in zip(offline, streamed, strict=True):
        assert ours.shape == theirs.shape
        assert ours.dtype == torch.float32
        noise = (ours - theirs).square().mean()
        assert 10 * torch.log10(theirs.square().mean() / noise) > 15


@pytest.mark.parametrize("caches", ["explicit", "auto"])
@pytest.mark.parametrize("name", CASES)
def test_all_three_ways_to_run_give_the_same_integers(build: Build, worker: Worker, name: str, caches: str) -> None:
    quantized = build(name, caches=caches).quantized
    windows = integer_windows(quantized, batch_of(name, 23))
    stepped = interpret(quantized).run(windows)
    for other in (IntegerRecorder(quantized).run(windows), ExecutorStream(quantized, worker).run(windows)):
        for ours, theirs in zip(stepped, other, strict=True):
            assert ours
            for tensor in ours.keys() & theirs.keys():
                assert np.array_equal(ours[tensor], theirs[tensor])
            assert {port.name for port in quantized.spec.outputs} <= ours.keys() & theirs.keys()


@pytest.mark.parametrize("name", ["tutorial", "recurrent", "two_outputs"])
def test_the_executor_stepped_by_hand_equals_its_own_loop(build: Build, worker: Worker, name: str) -> None:
    quantized = build(name).quantized
    windows = integer_windows(quantized, batch_of(name, 12))
    stream: IntegerStream = ExecutorStream(quantized, worker)
    state = stream.initial_state(3)
    for window, expected in zip(windows, ExecutorStream(quantized, worker).run(windows), strict=True):
        outputs, state = stream.step(window, state)
        assert all(np.array_equal(outputs[tensor], values) for tensor, values in expected.items())


@pytest.mark.parametrize("caches", ["explicit", "auto"])
def test_a_step_changes_neither_its_inputs_nor_its_state(build: Build, worker: Worker, caches: str) -> None:
    quantized = build("tutorial", caches=caches).quantized
    windows = integer_windows(quantized, batch_of("tutorial", 12))
    for stream in (interpret(quantized), ExecutorStream(quantized, worker)):
        _, state = stream.step(windows[0], stream.initial_state(3))
        before = {name: value.copy() for name, value in state.items()}
        first, _ = stream.step(windows[1], state)
        again, _ = stream.step(windows[1], state)
        assert before
        assert all(np.array_equal(state[name], value) for name, value in before.items())
        assert all(np.array_equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize("name", ["tutorial", "recurrent"])
def test_a_batch_equals_single_recordings(build: Build, name: str) -> None:
    model, batch = QuantizedStreaming(build(name).quantized), batch_of(name, 20)
    together = model(*batch.values())
    alone = torch.cat([model(*(value[i : i + 1] for value in batch.values())) for i in range(3)])
    assert torch.equal(together, alone)


def test_every_call_starts_from_the_initial_state(build: Build) -> None:
    model, batch = QuantizedStreaming(build("tutorial").quantized), batch_of("tutorial", 20)
    first = model(**batch)
    model(100 * batch["x"])
    assert torch.equal(model(**batch), first)


def test_any_runner_may_compute(build: Build) -> None:
    quantized = build("stateless").quantized

    class Zeros:
        def run(self, windows: list[Mapping[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
            return [{"output": np.zeros((1, 2, 4), dtype=np.int8)} for _ in windows]

    assert not QuantizedStreaming(quantized, Zeros())(torch.randn(1, 8, 5)).any()


def test_inputs_of_other_precisions_are_taken(build: Build) -> None:
    model, batch = QuantizedStreaming(build("tutorial").quantized), batch_of("tutorial", 20)["x"]
    rounded = batch.half()
    assert torch.equal(model(rounded), model(rounded.double()))
    assert torch.equal(model(batch.clone().requires_grad_()), model(batch))


@pytest.mark.parametrize("target", ["esp32s3", "esp32p4"])
def test_simulate_computes_from_the_files_of_a_bundle(bundle: Bundle, build: Build, target: str) -> None:
    recording = batch_of("tutorial", 40)["x"][0]
    found = simulate(bundle, recording, target)
    assert isinstance(found, Tensor)
    assert found.shape == (8, 40)
    expected = QuantizedStreaming(build("tutorial", target=target, caches="auto").quantized)(recording.unsqueeze(0))
    assert torch.equal(found, expected[0])


def test_simulate_takes_a_directory_and_a_mapping(bundle: Bundle) -> None:
    recording = batch_of("tutorial", 40)["x"][0]
    assert torch.equal(simulate(bundle.path, {"x": recording}), simulate(bundle, recording))
    assert torch.equal(simulate(str(bundle.path), recording), simulate(bundle, recording, bundle.targets[0]))


def test_simulate_refuses_what_it_cannot_take(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match=r"holds no model for target='esp32'"):
        simulate(bundle, torch.randn(8, 40), "esp32")
    with pytest.raises(DataError, match=r"input 'x' has shape \[7, 40\], but the model takes \[8, "):
        simulate(bundle, torch.randn(7, 40))
