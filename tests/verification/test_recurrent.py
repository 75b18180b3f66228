"""How far a chip may be behind a GRU or LSTM: measured, not assumed, and enough for what fused arithmetic does."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_esp import Deployment, verify_bundle, write_bundle
from lightning_esp.conversion.recording_checks import pad_recordings
from lightning_esp.espdl.arithmetic import ChipRules
from lightning_esp.espdl.espdl_model import Array
from lightning_esp.quantization import Worker
from lightning_esp.simulation import integer_windows, interpret
from lightning_esp.verification.recurrent import TIE_MARGIN, measure_tolerances
from lightning_esp.verification.verify import prove_integers
from tests.models.built import Built

Build = Callable[..., Built]


@pytest.fixture(scope="module", params=["int8", "int16"])
def built(request: pytest.FixtureRequest, build: Build) -> Built:
    return build("recurrent", request.param)


def windows_of(built: Built, frames: int) -> list[dict[str, Array]]:
    generator = torch.Generator().manual_seed(3)
    shape = (frames, *built.recordings[0].shape[1:])  # type: ignore[union-attr]
    recordings = [torch.randn(shape, generator=generator) for _ in range(16)]
    return integer_windows(built.quantized, pad_recordings(built.quantized.spec, recordings)[0])


def test_what_is_behind_the_layer_has_a_tolerance(built: Built) -> None:
    windows = windows_of(built, 60)
    found = measure_tolerances(built.quantized, windows, interpret(built.quantized).run(windows))
    (stage,) = built.quantized.stages
    assert set(found) == {*(t.name for t in stage.outputs), *(cache.tensor.name for cache in stage.caches)}
    assert min(found.values()) >= 1


def test_a_model_without_such_layers_is_exact(build: Build) -> None:
    built = build("tutorial")
    windows = integer_windows(built.quantized, pad_recordings(built.quantized.spec, built.recordings)[0])
    assert measure_tolerances(built.quantized, windows, interpret(built.quantized).run(windows)) == {}


def test_a_margin_turns_values_next_to_a_tie_and_no_others() -> None:
    values = np.array([0.25, 0.493, 0.4999, 0.5001, 0.51, -0.4999, -1.5001, 2.0, 127.4999], np.float32)
    exact = ChipRules("esp32s3", half_even=False)
    assert exact.round_sums(values).tolist() == exact.round(values).tolist() == [0, 0, 0, 1, 1, 0, -2, 2, 127]
    turned = ChipRules("esp32s3", half_even=False, tie_margin=TIE_MARGIN).round_sums(values)
    assert turned.tolist() == [0, 1, 1, 0, 1, -1, -1, 2, 128]
    # Of an int16 value the last bit of a float32 is a larger share of a step.
    assert ChipRules("esp32s3", False, TIE_MARGIN).round_sums(np.array([30000.48], np.float32)).tolist() == [30001]


def test_other_float_sums_stay_within_the_tolerances(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each float32 sum moved by up to 3e-7 of itself, as by another order of its operations."""
    windows = windows_of(built, 300)
    files = interpret(built.quantized)
    exact = files.run(windows)
    found = measure_tolerances(built.quantized, windows, exact)
    generator, round_exactly = np.random.default_rng(0), ChipRules.round

    def fused(self: ChipRules, values: Array) -> Array:
        moved = values * (1 + generator.uniform(-3e-7, 3e-7, values.shape)).astype(values.dtype)
        return round_exactly(self, moved)

    monkeypatch.setattr(ChipRules, "round_sums", fused)
    after = {cache.tensor.name: cache.next for stage in built.quantized.stages for cache in stage.caches}
    state, differing, total = files.initial_state(16), 0, 0
    for window, right in zip(windows, exact, strict=True):
        outputs, _ = files.step(window, state)
        state = {cache: right[new] for cache, new in after.items()}
        for name, steps in found.items():
            gap = np.abs(outputs[after.get(name, name)].astype(int) - right[after.get(name, name)].astype(int))
            assert gap.max() <= steps, name
            differing, total = differing + int((gap > 0).sum()), total + gap.size
    assert differing <= total / 50


def test_the_bundle_carries_states_and_tolerances(build: Build, worker: Worker, tmp_path: Path) -> None:
    built = build("recurrent")
    verification = prove_integers(built.quantized, built.recordings, worker)
    assert verification.golden.tolerances
    bundle = write_bundle({"esp32s3": (built.quantized, verification)}, tmp_path / "gru", Deployment(name="gru"))
    data = (bundle.path / "components/lesp_model/esp32s3/golden/gru_golden.bin").read_bytes()
    assert data[:4] == b"LEG2"
    read = verify_bundle(bundle)["esp32s3"].golden
    assert read.tolerances == verification.golden.tolerances
    assert all((read.caches[name] == values).all() for name, values in verification.golden.caches.items())
