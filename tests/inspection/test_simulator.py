"""Integers behind an nn.Module: `QuantizedStreaming` and `simulate` take what the exported module takes."""

import copy
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_esp import Bundle, Simulation, calibrate, convert, quantize, simulate
from lightning_esp.conversion.geometry import as_tuple
from lightning_esp.conversion.spec import StreamSpec
from lightning_esp.errors import BundleError, DataError, EspdlError
from lightning_esp.espdl.stream import IntegerStream
from lightning_esp.inspection.simulator import IntegerRecorder, QuantizedStreaming, integer_windows, interpret
from lightning_esp.quantization import Worker
from lightning_esp.quantization.executor import ExecutorStream
from lightning_esp.simulation import ContinuousRun, stack_windows
from tests.models.built import Built
from tests.models.contracts import CASES
from tests.models.spotter import Clips, Net
from tests.models.tutorial_tcn import shake

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


@pytest.mark.parametrize("frames", [40, 7])
@pytest.mark.parametrize("caches", ["explicit", "auto"])
@pytest.mark.parametrize("name", [name for name in CASES if len(CASES[name].shapes(8)) == 1])
def test_pieces_of_a_recording_give_what_the_whole_gives(build: Build, name: str, caches: str, frames: int) -> None:
    quantized = build(name, caches=caches).quantized
    (recording,) = batch_of(name, frames, size=1).values()
    run, axis = ContinuousRun(quantized), quantized.spec.inputs[0].time_axis
    assert axis is not None
    pieces = torch.tensor_split(recording, [1, 1, 5, 6, 30], dim=axis)
    outputs = [*(run.push(piece) for piece in pieces), run.finish()]
    assert run.output.time_axis is not None
    whole = as_tuple(QuantizedStreaming(quantized)(recording))[0]
    assert torch.equal(torch.cat(outputs, run.output.time_axis), whole)


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


def frames_of(values: Mapping[str, Tensor], spec: StreamSpec, start: int, count: int) -> dict[str, Tensor]:
    axes = {port.name: port.time_axis for port in spec.inputs}
    return {n: v if axes[n] is None else v.narrow(axes[n], start, count) for n, v in values.items()}


@pytest.mark.parametrize("caches", ["explicit", "auto"])
@pytest.mark.parametrize("name", CASES)
def test_frames_as_they_come_give_the_integers_of_the_whole_recording(build: Build, name: str, caches: str) -> None:
    quantized = build(name, caches=caches).quantized
    spec, batch = quantized.spec, batch_of(name, 24)
    simulation = Simulation(quantized, batch=3)
    pieces, start = [], 0
    for count in (1, 2, 5, 1, 3, 12):
        pieces.append(as_tuple(simulation.step(frames_of(batch, spec, start, count))))
        start += count
    pieces.append(as_tuple(simulation.flush()))
    recordings = [{n: v[i] for n, v in batch.items()} for i in range(3)]
    whole = [as_tuple(output) for output in simulation.run(recordings)]
    for index, port in enumerate(spec.outputs):
        streamed = torch.cat([piece[index] for piece in pieces], dim=port.time_axis)
        offline = torch.stack([outputs[index] for outputs in whole])
        delay, windows = spec.output_delay(port), 24 // spec.window
        assert streamed.shape[port.time_axis] == windows * port.frames
        common = min(windows * port.frames - delay, offline.shape[port.time_axis])
        assert common > 0
        assert torch.equal(streamed.narrow(port.time_axis, delay, common), offline.narrow(port.time_axis, 0, common))


def test_stages_run_one_a_frame_step(build: Build) -> None:
    # Windows of three frames, three stages: the output comes two frame steps after its window.
    simulation = Simulation(build("tutorial").quantized)
    frames = batch_of("tutorial", 12)["x"][:1]
    ready = [simulation.step(frames[:, :, i : i + 1]).shape[2] for i in range(12)]
    assert ready == [0, 0, 0, 0, 3, 0, 0, 3, 0, 0, 3, 0]
    assert simulation.flush().shape == (1, 8, 3)
    assert simulation.flush().shape == (1, 8, 0)


def test_reset_starts_anew_and_drops_what_was_pending(build: Build) -> None:
    simulation, frames = Simulation(build("tutorial").quantized), batch_of("tutorial", 12)["x"]
    first = torch.cat([simulation.step(frames[:1]), simulation.flush()], dim=2)
    start = Simulation(build("tutorial").quantized).caches
    assert any((value != start[name]).any() for name, value in simulation.caches.items())
    simulation.step(frames[:1, :, :4])
    simulation.reset()
    assert all(np.array_equal(value, start[name]) for name, value in simulation.caches.items())
    assert torch.equal(torch.cat([simulation.step(frames[:1]), simulation.flush()], dim=2), first)
    simulation.reset(batch=3)
    together = torch.cat([simulation.step(frames), simulation.flush()], dim=2)
    assert torch.equal(together[:1], first)


def test_a_held_input_is_needed_once(build: Build) -> None:
    quantized, batch = build("two_inputs").quantized, batch_of("two_inputs", 8, size=1)
    held = [port.name for port in quantized.spec.inputs if port.time_axis is None]
    streams = {name: value for name, value in batch.items() if name not in held}
    simulation = Simulation(quantized)
    with pytest.raises(DataError, match=r"but not \['speaker'\]"):
        simulation.step(streams)
    first = simulation.step(batch)
    simulation.reset()
    assert torch.equal(simulation.step(streams), first)


@pytest.mark.parametrize("caches", ["explicit", "auto"])
def test_recordings_of_different_lengths_equal_each_alone(build: Build, caches: str) -> None:
    simulation = Simulation(build("tutorial", caches=caches).quantized)
    recordings = CASES["tutorial"].recordings(31, 7, 40)
    together = simulation.run(recordings)
    for recording, output in zip(recordings, together, strict=True):
        assert output.shape == recording.shape
        assert torch.equal(output, simulation.run(recording))


@pytest.mark.parametrize("caches", ["explicit", "auto"])
def test_any_tensor_can_be_read(build: Build, caches: str) -> None:
    built = build("tutorial", caches=caches)
    recording = built.recordings[0]
    simulation = Simulation(built.quantized)
    names = ["x", "stage1:stage0.output", "output", "/stages.0/gate/up/Conv_output_0"]
    values = simulation.trace(recording, names)
    stack = stack_windows(built.quantized, {"x": recording[None]})
    assert np.array_equal(values["x"], stack["x"][0])
    outputs = IntegerRecorder(built.quantized).run_stack(stack)
    assert np.array_equal(values["stage1:stage0.output"], outputs["stage0.output"][0])
    assert np.array_equal(values["output"], outputs["output"][0])
    assert values[names[-1]].dtype == np.int8
    assert len(np.unique(values[names[-1]])) > 20
    simulation.step(recording[None, :, :12])
    for name in names:
        # The first stage has seen four windows; the others are still at work on the one before.
        window = 3 if name in (names[0], names[-1]) else 2
        assert np.array_equal(simulation.peek(name)[0], values[name][window])


def test_tensors_that_cannot_be_read(build: Build) -> None:
    simulation = Simulation(build("tutorial").quantized)
    assert "stage0:x" in simulation.tensors
    with pytest.raises(EspdlError, match=r"peek\('x'\): its stage has not run yet"):
        simulation.peek("x")
    with pytest.raises(EspdlError, match=r"'nowhere' is computed nowhere.* has stage0:x, "):
        simulation.trace(batch_of("tutorial", 12)["x"][0], ["nowhere"])


def test_step_refuses_what_does_not_fit(build: Build) -> None:
    simulation, frames = Simulation(build("tutorial").quantized), batch_of("tutorial", 12)["x"]
    with pytest.raises(DataError, match=r"batches of \[3\], but runs 1 recording"):
        simulation.step(frames)
    with pytest.raises(DataError, match=r"'x' has shape \[7, 12\], .* takes \[8, 12\]"):
        simulation.step(frames[:1, :7])


def test_a_simulation_of_a_directory_and_of_one_chip(bundle: Bundle) -> None:
    recording = batch_of("tutorial", 40)["x"][0]
    for target in bundle.targets:
        simulation = Simulation(bundle.path, target)
        assert simulation.quantized.target == target
        assert torch.equal(simulation.run(recording), simulate(bundle, recording, target))


def test_a_copy_and_a_pickle_compute_the_same(build: Build) -> None:
    model, batch = QuantizedStreaming(build("recurrent").quantized), batch_of("recurrent", 20)
    expected = model(**batch)
    assert torch.equal(copy.deepcopy(model)(**batch), expected)
    assert torch.equal(pickle.loads(pickle.dumps(model))(**batch), expected)


@pytest.mark.parametrize("strategy", ["ddp", pytest.param("ddp_spawn", marks=pytest.mark.slow)])
def test_a_validation_in_two_processes_equals_one_in_one(worker: Worker, tmp_path: Path, strategy: str) -> None:
    net = shake(Net())
    model = convert(net, Clips().x[0])
    quantized = quantize(model, calibrate(model, list(Clips().x)), worker=worker)
    (tmp_path / "quantized.pkl").write_bytes(pickle.dumps(quantized))
    torch.save(net.state_dict(), tmp_path / "weights.pt")
    clips = Clips(24, 2)
    scores = QuantizedStreaming(quantized)(clips.x)
    right = int((scores.mean(2).argmax(1) == clips.targets).sum())
    script = Path(__file__).parents[1] / "models" / "quantized_run.py"
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(tmp_path), strategy]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]
    metrics = json.loads((tmp_path / "metrics_2.json").read_text())
    assert metrics["val_acc"] == pytest.approx(right / 24)
    assert metrics["test_mean"] == pytest.approx(float(scores.mean()), abs=1e-6)
    assert 0 < right < 24
