"""`search_precision`: the first candidate that holds metrics, budget and proofs, and the figures of all that were tried."""

import importlib
import json
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_esp import Budget, Calibration, Quantization, Streaming, calibrate, convert
from lightning_esp.errors import BudgetError, ProofError, QuantizationError
from lightning_esp.precision import ModuleEffect, PrecisionSearch, SearchContext, search_precision
from lightning_esp.quantization import Worker
from lightning_esp.simulation import QuantizedStreaming
from lightning_esp.verification import Proof, TaskResult
from lightning_esp.verification.signal import run_offline
from tests.models.tutorial_tcn import shake
from tests.models.uneven import spread_channels

MODULE = importlib.import_module("lightning_esp.precision.search")
REFINEMENTS = ["bias_correction", "adaround", "tqt"]
METHODS = ["int8, kl", "int8, percentile", "int8, mse", "int8, minmax"]


class Chain(nn.Module):
    """Three pointwise convs with tanh between them, so that nothing can be equalized.

    Args:
        spoil: a weight of the second so large that int8 rounds its others away.
    """

    def __init__(self, spoil: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.third = nn.Conv1d(8, 8, 1), nn.Conv1d(8, 8, 1), nn.Conv1d(8, 8, 1)
        shake(self)
        if spoil:
            with torch.no_grad():
                self.second.weight[0, 0, 0] = spoil
                self.third.weight[:, 0] = 0.3 / spoil

    def forward(self, x: Tensor) -> Tensor:
        return self.third(torch.tanh(self.second(torch.tanh(self.first(x)))))


def recordings() -> list[Tensor]:
    return list(torch.randn(4, 8, 40, generator=torch.Generator().manual_seed(1)))


def stand(worker: Worker, module: nn.Module, quantization: Quantization, target: str = "esp32s3") -> SearchContext:
    model = convert(module, recordings()[0], Streaming(window=4))
    samples = calibrate(model, recordings(), Calibration(max_windows=40))
    return SearchContext(
        model=model, samples=samples, recordings=recordings(), worker=worker, target=target, quantization=quantization
    )


def outcomes(found: PrecisionSearch) -> dict[str, str]:
    return {candidate.name: candidate.outcome for candidate in found.candidates}


@pytest.fixture(scope="module")
def simple(worker: Worker) -> tuple[PrecisionSearch, list[tuple[str, int, int]]]:
    phases: list[tuple[str, int, int]] = []
    given = stand(worker, Chain(), Quantization("auto"))
    return search_precision(replace(given, progress=lambda *step: phases.append(step))), phases


def test_of_the_methods_of_int8_the_quietest_is_taken(
    simple: tuple[PrecisionSearch, list[tuple[str, int, int]]],
) -> None:
    found, phases = simple
    assert [candidate.name for candidate in found.candidates[:4]] == METHODS
    chosen = next(candidate for candidate in found.candidates if candidate.outcome == "chosen")
    ratios = [candidate.output_snr_db for candidate in found.candidates if candidate.output_snr_db is not None]
    assert chosen.output_snr_db == pytest.approx(max(ratios), abs=0.1)
    assert len({candidate.output_snr_db for candidate in found.candidates[:4]}) > 1
    assert [o for n, o in outcomes(found).items() if n in METHODS].count("skipped") == 3
    assert found.candidates[4].name.endswith(", equalized")
    assert found.candidates[4].reason == "Quantization(equalization=True) found nothing to equalize"
    assert (found.setting.precision, found.setting.method) == ("int8", chosen.method)
    assert phases[:2] == [("try int8, kl", 0, 1), ("try int8, kl", 1, 1)]
    tried = [name for name, done, _ in phases if done and name.startswith("try ")]
    assert tried == [f"try {candidate.name}" for candidate in found.candidates]
    assert [(name, done) for name, done, _ in phases[-2:]] == [(f"judge {chosen.name}", 0), (f"judge {chosen.name}", 1)]
    passed = {candidate.reason for candidate in found.candidates if candidate.outcome == "skipped"}
    assert all(reason.endswith((f"r than {chosen.name}", f"the same files as {chosen.name}")) for reason in passed)


def test_the_figures_of_a_rung_are_those_of_its_files(
    simple: tuple[PrecisionSearch, list[tuple[str, int, int]]],
) -> None:
    found, _ = simple
    chosen = next(candidate for candidate in found.candidates if candidate.outcome == "chosen")
    x = torch.stack(recordings())
    true = Chain()(x).detach()
    noise = true - QuantizedStreaming(found.quantized)(x)
    expected = 10 * torch.log10(true.square().sum() / noise.square().sum())
    assert chosen.output_snr_db == pytest.approx(float(expected), abs=0.02)
    assert found.quantized.estimate is not None
    assert chosen.flash == sum(len(stage.data) for stage in found.quantized.stages)
    assert (chosen.ram, chosen.step_us) == (found.quantized.estimate.ram, found.quantized.estimate.step_us)
    told = found.verification.precision_search
    assert [candidate["name"] for candidate in told["candidates"]] == [candidate.name for candidate in found.candidates]
    assert told["candidates"][found.candidates.index(chosen)]["output_snr_db"] == chosen.output_snr_db


class Uneven(nn.Module):
    """Two pointwise convs with ReLU and channels of very different scale between them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.up, self.down = nn.Conv1d(8, 12, 1), nn.Conv1d(12, 4, 1)
        shake(self)
        spread_channels(self.up, self.down)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(torch.relu(self.up(x)))


def test_equalization_is_enough(worker: Worker) -> None:
    found = search_precision(stand(worker, Uneven(), Quantization("auto", tolerance=1e-3)))
    assert [candidate.outcome for candidate in found.candidates] == ["skipped"] * 4 + ["chosen"]
    assert all(candidate.noise is not None and candidate.noise > 1e-3 for candidate in found.candidates[:4])
    assert (found.candidates[4].equalization, found.setting.equalization) == (True, True)


def test_what_gains_nothing_is_not_taken(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    noises = iter([0.010, 0.00500, 0.00499, 0.010, 0.00498])
    monkeypatch.setattr(MODULE, "measure_outputs", lambda *_: {"output": next(noises)})
    # Nor are its candidates the same files, as those of this network would be.
    monkeypatch.setattr(MODULE.CandidateResult, "files", property(lambda self: (repr(self.setting).encode(),)))
    found = search_precision(stand(worker, Uneven(), Quantization("auto", tolerance=0.02)))
    assert outcomes(found)["int8, percentile"] == "chosen"
    assert found.candidates[4].name == "int8, percentile, equalized"
    assert found.candidates[4].reason == "no quieter than int8, percentile"


def test_a_refinement_is_enough(worker: Worker) -> None:
    found = search_precision(stand(worker, Chain(60.0), Quantization("auto", tolerance=10**-0.95)))
    *lower, last = found.candidates
    assert (last.outcome, last.refinement, found.setting.refinement) == ("chosen", "tqt", "tqt")
    assert [candidate.refinement for candidate in lower] == [None] * 5 + REFINEMENTS[:2]
    plain = next(candidate for candidate in lower if candidate.name == last.name.removesuffix(", tqt"))
    assert (last.flash, last.ram, last.step_us) == (plain.flash, plain.ram, plain.step_us)
    assert found.verification.precision_search["candidates"][-1]["refinement"] == "tqt"


def test_files_that_are_alike_are_measured_once(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[object] = []
    right = MODULE.measure_outputs
    monkeypatch.setattr(MODULE, "measure_outputs", lambda *given: measured.append(given) or right(*given))
    found = search_precision(stand(worker, Uneven(), Quantization("auto", tolerance=1e-3)))
    # Four methods chose the same exponents.
    assert (len(found.candidates), len(measured)) == (5, 2)
    assert len({candidate.noise for candidate in found.candidates[:4]}) == 1


def test_the_worst_module_in_int16_is_enough(worker: Worker) -> None:
    found = search_precision(stand(worker, Chain(20.0), Quantization("auto")))
    *lower, last = found.candidates
    assert {candidate.outcome for candidate in lower} <= {"rejected", "skipped"}
    assert [candidate.refinement for candidate in lower] == [None] * 5 + REFINEMENTS
    assert (last.outcome, last.int16, found.setting.int16) == ("chosen", ("second",), ("second",))
    assert last.noise is not None
    assert last.noise <= 0.005 < min(candidate.noise for candidate in lower if candidate.noise is not None)
    assert "dB at the outputs, and the tolerance asks for 23.01 dB" in lower[0].reason
    assert {tensor.dtype for tensor in found.quantized.stages[0].outputs} == {"int8"}


def test_only_int16_holds(worker: Worker) -> None:
    found = search_precision(stand(worker, Chain(60.0), Quantization("auto")))
    assert [candidate.int16 for candidate in found.candidates[8:]] == [("second",), ("second", "third"), ()]
    assert outcomes(found).popitem() == ("int16", "chosen")
    assert {candidate.outcome for candidate in found.candidates[:-1]} <= {"rejected", "skipped"}
    assert found.quantized.precision == "int16"


def test_a_budget_keeps_int16_out_and_the_error_lists_every_rung(worker: Worker) -> None:
    given = stand(worker, Chain(60.0), Quantization("auto"))
    with pytest.raises(ProofError) as caught:
        search_precision(replace(given, budget=Budget(flash=9000)))
    text = str(caught.value)
    assert "Quantization(precision='auto', tolerance=0.005): none of 11 candidates holds for esp32s3." in text
    for name in [
        *METHODS,
        "int8, kl, equalized",
        "int8, kl, tqt",
        "int8, kl, tqt, 'second' in int16",
        "int8, kl, tqt, 'second', 'third' in int16",
    ]:
        assert f"\n  {name} (" in text or f"\n  {name}: rejected: " in text
    assert "int16 (30" in text
    assert "rejected: over the budget: flash of 13776 bytes, but 9000 allowed" in text
    assert "raise the limit, or make the model smaller" in text
    assert "Half of the noise or more comes from second" in text


def test_nothing_holds_and_the_error_lists_every_rung(worker: Worker) -> None:
    with pytest.raises(ProofError, match="none of 11 candidates holds for esp32p4") as caught:
        search_precision(stand(worker, Chain(200.0), Quantization("auto"), "esp32p4"))
    lines = str(caught.value).split("\n")
    assert [line.partition(" (")[0].strip() for line in lines[1:5]] == METHODS
    assert sum(": rejected: " in line or ": skipped: " in line for line in lines) == 11
    assert "int16 (" in lines[11]
    assert "raise the limit" not in lines[-1]


def test_a_limit_of_time_needs_a_chip_with_figures(worker: Worker) -> None:
    given = stand(worker, Chain(), Quantization("auto"), "esp32c3")
    with pytest.raises(BudgetError, match="nobody has published figures for esp32c3"):
        search_precision(replace(given, budget=Budget(step_us=100.0)))


def judge(least: float, seen: list[float]) -> Callable[[nn.Module], TaskResult]:
    """A metric of the user's: the signal-to-noise ratio must reach `least` dB."""
    x = torch.stack(recordings())
    true = Chain(60.0)(x).detach()

    def evaluate(stream: nn.Module) -> TaskResult:
        noise = true - stream(x)
        found = float(10 * torch.log10(true.square().sum() / noise.square().sum()))
        seen.append(found)
        proof = Proof("ratio holds", least - found, 0.0, found >= least, f"ratio is {found:.1f}", "Try more.")
        return TaskResult({"ratio": 99.0}, {"ratio": found}, (proof,))

    return evaluate


def test_the_metrics_of_the_user_decide_and_are_kept(worker: Worker) -> None:
    seen: list[float] = []
    given = stand(worker, Chain(60.0), Quantization("auto"))
    found = search_precision(replace(given, evaluate=judge(10.0, seen)))
    # 12 dB would not do without metrics.
    assert found.setting.int16 == ("second",)
    assert found.candidates[-1].metrics == {"ratio": seen[-1]} == found.task.quantized_metrics
    assert found.candidates[0].reason == f"ratio is {seen[0]:.1f}"
    # minmax gave the files of mse, so nobody ran them again.
    assert found.candidates[3].reason == "the same files as int8, mse"
    assert len(seen) == 6
    assert found.candidates[3].metrics == {}


def test_a_rung_that_cannot_be_proved_is_not_taken(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    context = importlib.import_module("lightning_esp.precision.context")
    right = context.prove_integers

    def prove(quantized, *rest, **options):  # type: ignore[no-untyped-def]
        if quantized.precision == "int8":
            raise ProofError("accumulators fit 20 bits: 600000, but at most 524287 is allowed. Operator 'a'. Split it.")
        return right(quantized, *rest, **options)

    monkeypatch.setattr(context, "prove_integers", prove)
    found = search_precision(stand(worker, Chain(), Quantization("auto")))
    assert found.quantized.precision == "int16"
    reasons = {candidate.reason for candidate in found.candidates[:4]}
    assert "accumulators fit 20 bits: 600000, but at most 524287 is allowed" in reasons


def test_an_infinite_tolerance_takes_the_first_rung_that_is_proved(worker: Worker) -> None:
    found = search_precision(stand(worker, Chain(200.0), Quantization("auto", method="mse", tolerance=float("inf"))))
    assert outcomes(found) == {"int8, mse": "chosen"}
    assert json.loads(json.dumps(found.verification.precision_search, allow_nan=False))["tolerance"] == "inf"


def test_a_rung_that_does_not_follow_the_float_network_is_not_taken(worker: Worker) -> None:
    module, wanted = Chain(200.0), Quantization("auto", tolerance=float("inf"), min_snr_db=15.0)
    given = stand(worker, module, wanted)
    found = search_precision(
        replace(given, offline=run_offline(module, given.model, recordings(), 32, wanted.min_snr_db))
    )
    assert found.candidates[0].reason.startswith("output 'output' follows the float network")
    assert "15 dB are asked for" in found.candidates[0].reason
    assert found.verification.proofs[-1].limit == pytest.approx(10**-1.5)
    # What is not judged by it is taken as it is.
    assert outcomes(search_precision(replace(given, rehearsal=True))) == {"int8, kl": "chosen"}


def limited(worker: Worker, monkeypatch: pytest.MonkeyPatch, module: nn.Module, **options: Any) -> SearchContext:
    """A search whose clock ticks when a candidate has been tried, and stands still while one is judged."""
    ticks = [0.0]
    monkeypatch.setattr(MODULE, "time", SimpleNamespace(monotonic=lambda: ticks[0]))

    def tick(phase: str, done: int, total: int) -> None:
        ticks[0] += done * phase.startswith("try ")

    return replace(stand(worker, module, Quantization("auto", **options)), progress=tick)


def test_behind_a_limit_of_time_the_best_so_far_is_judged(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    found = search_precision(limited(worker, monkeypatch, Chain(), search_seconds=2.0))
    tried, untried = found.candidates[:2], found.candidates[2:]
    assert sorted(candidate.outcome for candidate in tried) == ["chosen", "skipped"]
    assert {(candidate.outcome, candidate.reason, candidate.seconds) for candidate in untried} == {
        ("skipped", "not tried: the time was over", 0.0)
    }
    assert len(untried) == 3
    assert [candidate.seconds for candidate in tried] == [1.0, 1.0]
    told = found.verification.precision_search
    assert (told["search_seconds"], [candidate["seconds"] for candidate in told["candidates"]]) == (
        2.0,
        [1, 1, 0, 0, 0],
    )
    assert (
        "search_seconds"
        not in search_precision(stand(worker, Chain(), Quantization("auto"))).verification.precision_search
    )


def test_behind_a_limit_of_time_int16_is_what_is_left(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    found = search_precision(limited(worker, monkeypatch, Chain(60.0), search_seconds=1.5))
    assert [candidate.outcome for candidate in found.candidates] == [
        "rejected",
        "skipped",
        "skipped",
        "skipped",
        "skipped",
        "chosen",
    ]
    assert found.candidates[1].reason == "not judged: the time was over"
    assert found.candidates[-1].name == "int16"
    with pytest.raises(ProofError, match=r"allow more, Quantization\(search_seconds=\.\.\.\)"):
        search_precision(limited(worker, monkeypatch, Chain(200.0), search_seconds=0.5))


def test_what_a_candidate_gains_is_told_against_the_first(
    simple: tuple[PrecisionSearch, list[tuple[str, int, int]]],
) -> None:
    found, _ = simple
    told = found.verification.precision_search["candidates"]
    ratios = [candidate["output_snr_db"] for candidate in told]
    assert [candidate["gain_db"] for candidate in told[:4]] == pytest.approx(
        [r - ratios[0] for r in ratios[:4]], abs=0.02
    )
    assert (told[0]["gain_db"], told[4]["gain_db"]) == (0.0, None)


def test_what_no_rung_can_be_made_of_is_the_first_rungs_own_error(worker: Worker) -> None:
    wrong = Quantization("auto", int16=("nothing.here",))
    with pytest.raises(QuantizationError, match=r"int16=\[\.\.\. 'nothing\.here' \.\.\.\]\) names no module"):
        search_precision(stand(worker, Chain(), wrong))


class Shared(nn.Module):
    """A model input that two layers read, of which neither can be int16 alone."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two, self.high = nn.Conv1d(8, 8, 1), nn.Conv1d(8, 8, 1), nn.Conv1d(8, 8, 1)
        self.higher, self.head = nn.Conv1d(8, 8, 1), nn.Conv1d(8, 4, 1)
        shake(self)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.one(x)) + torch.tanh(self.two(x))
        return self.head(torch.tanh(self.higher(torch.tanh(self.high(y)))))


def test_a_module_that_cannot_be_int16_alone_is_left_out(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    effects = [ModuleEffect(name, 1.0) for name in ("head", "two", "one", "higher", "high", "stage_0")]
    monkeypatch.setattr(MODULE, "rank_modules", lambda *_, **__: effects)
    found = search_precision(stand(worker, Shared(), Quantization("auto", tolerance=1e-6, method="minmax")))
    assert [candidate.int16 for candidate in found.candidates[8:-1]] == [
        ("head",),
        ("head", "two"),
        ("head", "one", "higher"),
        ("head", "one"),
        ("head", "higher"),
    ]
    refused = "tensor 'x' enters or leaves a file, but is "
    assert [candidate.reason.startswith(refused) for candidate in found.candidates[8:-1]] == [
        False,
        True,
        True,
        True,
        False,
    ]


def test_what_lies_inside_a_module_in_int16_takes_no_step(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    module = nn.Sequential(nn.Sequential(nn.Conv1d(8, 8, 1), nn.Tanh(), nn.Conv1d(8, 8, 1)), nn.Conv1d(8, 4, 1))
    shake(module)
    effects = [ModuleEffect(name, 1.0) for name in ("0", "0.0", "0.2", "1", "stage_0")]
    monkeypatch.setattr(MODULE, "rank_modules", lambda *_, **__: effects)
    found = search_precision(stand(worker, module, Quantization("auto", tolerance=2e-6, method="minmax")))
    assert [candidate.int16 for candidate in found.candidates[8:10]] == [("0",), ("0", "1")]
