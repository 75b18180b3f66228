"""Proof 6: how far the integers may be from the float network, and what is said of outputs that say nothing."""

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightning_esp import Quantization, Streaming, calibrate, convert, quantize, verify
from lightning_esp.conversion.recording_checks import pad_recordings
from lightning_esp.errors import ConfigurationError, ProofError
from lightning_esp.quantization import Worker
from lightning_esp.simulation import integer_windows, interpret
from lightning_esp.verification import Proof
from lightning_esp.verification.outliers import find_outliers, find_scarcity, unreached
from lightning_esp.verification.signal import FLOORS, follow_float, run_offline
from lightning_esp.verification.verify import prove_integers
from tests.models.built import Built
from tests.models.contracts import CASES

Build = Callable[..., Built]


def prove(
    built: Built, module: nn.Module | None = None, min_snr_db: float | None = None, noise: float = 0.0
) -> list[Proof]:
    """Proof 6 of a built case against a float network, with noise of a share of the signal's amplitude on its output."""
    spec, quantized = built.model.spec, built.quantized
    batch, _ = pad_recordings(spec, built.recordings)
    results = interpret(quantized).run(integer_windows(quantized, batch))
    offline = run_offline(module or built.module, built.model, built.recordings, 32, min_snr_db)
    generator = torch.Generator().manual_seed(2)

    def spoil(values: Tensor) -> Tensor:
        return values + noise * values.square().mean().sqrt() * torch.randn(values.shape, generator=generator)

    outputs = tuple({name: spoil(value) for name, value in each.items()} for each in offline.outputs)
    return list(follow_float(quantized, replace(offline, outputs=outputs), results))


@pytest.mark.parametrize(("name", "precision"), [*((name, "int8") for name in CASES), ("tutorial", "int16")])
def test_ordinary_models_are_green_output_by_output(build: Build, name: str, precision: str) -> None:
    built = build(name, precision)
    proofs = prove(built)
    assert [proof.name for proof in proofs] == [
        f"output {port.name!r} follows the float network" for port in built.model.spec.outputs
    ]
    for proof in proofs:
        assert proof.passed
        assert 0 < proof.figure < 10 ** (-FLOORS[precision][1] / 10)
        assert (
            "dB of signal to noise on 4 recordings" in proof.where
            or "dB of signal to noise on 3 recordings" in proof.where
        )


def test_more_noise_is_amber_and_much_of_it_fails(build: Build) -> None:
    built = build("tutorial")
    states = {noise: prove(built, noise=noise)[0] for noise in (0.02, 0.35, 0.8)}
    assert [proof.state for proof in states.values()] == ["green", "amber", "failed"]
    assert "less than the usual 12 dB" in states[0.35].doubt
    # The floor that the user gives is the one that decides.
    assert prove(built, min_snr_db=0.0, noise=0.8)[0].state == "amber"
    strict = prove(built, min_snr_db=60.0)[0]
    assert not strict.passed
    assert strict.limit == pytest.approx(1e-6)
    assert "60 dB are asked for" in strict.where
    assert "Quantization(precision='int16')" in strict.next_step


def test_another_network_fails(build: Build, worker: Worker) -> None:
    built, other = build("tutorial"), CASES["tutorial"].module(seed=7)
    (proof,) = prove(built, other)
    assert not proof.passed
    offline = run_offline(other, built.model, built.recordings, 32)
    with pytest.raises(ProofError, match=r"'output' follows .* dB are asked .*min_snr_db"):
        prove_integers(built.quantized, built.recordings, worker, offline=offline)
    assert prove_integers(built.quantized, built.recordings, worker, offline=offline, rehearsal=True).proofs


def test_a_stream_that_is_a_frame_late_fails(build: Build) -> None:
    built = build("tutorial")

    class Late(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = built.module(x)
            return torch.roll(y, 1, dims=2)

    assert prove(built)[0].figure * 10 < prove(built, Late())[0].figure


class Net(nn.Module):
    """One pointwise conv."""

    def __init__(self, scale: float = 1.0, bias: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv1d(4, 3, 1)
        with torch.no_grad():
            self.layer.weight.mul_(scale)
            self.layer.bias.mul_(0).add_(bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


def given(count: int = 4, frames: int = 60) -> list[Tensor]:
    return list(torch.randn(count, 4, frames, generator=torch.Generator().manual_seed(1)))


def judge(module: nn.Module, recordings: list[Tensor], worker: Worker, method: str = "kl") -> Proof:
    model = convert(module.eval(), recordings[0], Streaming(window=2))
    setting = Quantization(method=method)  # type: ignore[arg-type]
    quantized = quantize(model, calibrate(model, recordings), setting, worker=worker)
    verification = verify(module, model, quantized, recordings, worker=worker)
    proof = next(proof for proof in verification.proofs if proof.name == "output 'output' follows the float network")
    assert (f"{proof.name}: {proof.doubt}" in verification.notes) == (proof.state == "amber")
    return proof


def test_a_dead_output_says_so_instead_of_a_ratio(worker: Worker) -> None:
    for module in (Net(0.0), Net(0.0, 2.0)):
        proof = judge(module, given(), worker)
        assert proof.state == "amber"
        assert "puts out a constant: a dead model" in proof.doubt
        assert np.isfinite(proof.figure)


def test_a_ratio_that_only_the_mean_makes_is_amber(worker: Worker) -> None:
    proof = judge(Net(0.01, 10.0), given(), worker)
    assert proof.figure < 0.1
    assert "the integers do not follow what it changes by" in proof.doubt


def test_an_outlier_is_named_with_its_place(worker: Worker) -> None:
    recordings = given()
    recordings[2][1, 7] = 1e6
    wild = judge(Net(), recordings, worker, "minmax")
    assert wild.state == "amber"
    assert "recording 2 holds 1e+06 at frame 7 of input 'x', where others reach" in wild.doubt
    assert "Quantization(method='percentile')" in wild.doubt
    assert "with and without the frames that it reaches" in wild.doubt
    # Without it, the advice that is left.
    assert judge(Net(), given(), worker).state == "green"


def test_one_loud_recording_does_not_hide_the_others(worker: Worker) -> None:
    quiet = given()
    proof = judge(Net(), [quiet[0] * 3000, *quiet[1:]], worker, "minmax")
    assert proof.state == "amber"
    assert "3 of 4 recordings, recording 1 first, are below the floor by themselves" in proof.doubt


def test_loud_parts_and_sparse_signals_are_no_outliers(build: Build) -> None:
    spec = build("tutorial").model.spec
    channels = spec.inputs[0].shape[1]
    loud = torch.randn(channels, 400, generator=torch.Generator().manual_seed(1))
    loud[:, 100:140] *= 1000
    clicks = torch.zeros(channels, 400)
    clicks[0, 200] = 1.0
    assert find_outliers(spec, [loud]) == find_outliers(spec, [clicks]) == ()
    loud[3, 250] = 1e9
    (found,) = find_outliers(spec, [clicks + 0.01, loud])
    assert (found.recording, found.frame, found.input) == (1, 250, spec.inputs[0].name)
    reached = np.flatnonzero(~unreached(spec, spec.outputs[0], [found], 1, (0, 400)))
    assert reached[0] <= 250 // spec.stride <= reached[-1]
    assert unreached(spec, spec.outputs[0], [found], 0, (0, 400)).all()


def test_recordings_that_hold_hardly_anything_are_named(build: Build) -> None:
    built = build("tutorial")
    channels, spec = built.model.spec.inputs[0].shape[1], built.model.spec
    assert find_scarcity(spec, built.recordings) == ()
    one, few = find_scarcity(spec, [torch.ones(channels, 9), torch.ones(channels, 1)])
    assert one == "1 of 2 recordings, recording 1 first, hold frame 0 alone"
    assert re.match(r"the recordings make [4-7] windows in all, which .* Quantization\(method='percentile'\)", few)


def test_the_floor_is_a_number() -> None:
    with pytest.raises(ConfigurationError, match=r"Quantization\(min_snr_db=nan\) must be a number of decibels"):
        Quantization(min_snr_db=float("nan"))
