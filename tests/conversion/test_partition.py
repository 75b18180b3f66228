"""Automatic stages: the same model, cut where the load is even."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from torch import Tensor, nn

from lightning_esp import Streaming, StreamingModel, calibrate, convert, quantize
from lightning_esp.conversion.operator_cost import work_of_stage
from lightning_esp.cost import Estimate
from lightning_esp.cost.chip import reference_chip
from lightning_esp.errors import ConfigurationError, WindowError
from lightning_esp.quantization import Worker
from recipes.tcn import KeywordTcn
from tests.models.architectures import NAMED
from tests.models.contracts import CASES
from tests.models.tutorial_tcn import TutorialTcn, shake


def recipe() -> nn.Module:
    torch.manual_seed(0)
    return shake(KeywordTcn(32, 12, 80, 5, (1, 2, 4, 8, 1, 2, 4, 8)))


def check_wiring(model: StreamingModel) -> None:
    """Every tensor has one source before its readers, every cache one stage, and every stage something to do."""
    known = {port.name for port in model.spec.inputs}
    for stage in model.spec.stages:
        assert {port.name for port in stage.inputs} <= known
        made = [port.name for port in stage.outputs]
        assert made
        assert not known & set(made)
        known |= set(made)
    assert {port.name for port in model.spec.outputs} <= known
    names = [cache.name for cache in model.spec.caches]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("stages", [2, 3])
@pytest.mark.parametrize("name", NAMED)
def test_a_cut_model_is_the_same_model(name: str, stages: int) -> None:
    case = NAMED[name]
    module = case.module()
    recording = case.recording(41)
    window = 4 if name != "tc_resnet" else 8
    whole = convert(module, recording, Streaming(window=window, time_axis=case.axis))
    cut = convert(module, recording, Streaming(window=window, time_axis=case.axis, stages=stages))
    assert [stage.name for stage in cut.spec.stages] == [f"stage_{i}" for i in range(stages)]
    check_wiring(cut)
    assert {(c.name, c.shape, c.initial) for c in cut.spec.caches} == {
        (c.name, c.shape, c.initial) for c in whole.spec.caches
    }
    assert (cut.spec.inputs, cut.spec.outputs, cut.delay) == (whole.spec.inputs, whole.spec.outputs, whole.delay)
    expected, found = whole.run(recording), cut.run(recording)
    assert isinstance(expected, Tensor)
    assert isinstance(found, Tensor)
    assert torch.equal(expected, found)


def test_what_crosses_a_cut_has_its_time_axis() -> None:
    model = convert(recipe(), torch.randn(32, 60), Streaming(stages=4))
    inner = [port for stage in model.spec.stages[:-1] for port in stage.outputs]
    assert inner
    assert all(port.time_axis == 2 and port.frames == model.window == 4 for port in inner)


def recipe_estimate(stages: int | list[str] | None, worker: Worker) -> Estimate:
    recordings = [torch.randn(32, n, generator=torch.Generator().manual_seed(n)) for n in (60, 80)]
    model = convert(recipe(), recordings[0], Streaming(window=4, stages=stages))
    estimate = quantize(model, calibrate(model, recordings), worker=worker).estimate
    assert estimate is not None
    return estimate


@pytest.mark.parametrize("stages", [2, 3, 4])
def test_stages_of_the_recipe_are_even(worker: Worker, stages: int) -> None:
    # Over the operators of the files, requantizations included, which nobody knew when the model was cut.
    estimate = recipe_estimate(stages, worker)
    assert estimate.step_us is not None
    assert estimate.window_us is not None
    assert estimate.step_us <= 1.25 * estimate.window_us / stages


class Uneven(nn.Module):
    """Wide layers first, narrow ones behind: a cut by number of operators is far off."""

    def __init__(self) -> None:
        super().__init__()
        wide = [nn.Sequential(nn.Conv1d(128, 128, 1), nn.ReLU()) for _ in range(3)]
        narrow = [nn.Sequential(nn.Conv1d(16, 16, 1), nn.ReLU()) for _ in range(8)]
        self.layers = nn.Sequential(nn.Conv1d(32, 128, 1), *wide, nn.Conv1d(128, 16, 1), *narrow)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return y


def test_a_cut_by_cost_beats_a_cut_by_number(worker: Worker) -> None:
    module, recordings = shake(Uneven()), [torch.randn(32, 60)]
    model = convert(module, recordings[0], Streaming(window=8, stages=2))
    estimate = quantize(model, calibrate(model, recordings), worker=worker).estimate
    assert estimate is not None
    times = [layer.microseconds or 0 for layer in estimate.layers]
    best = min(max(sum(times[:cut]), sum(times[cut:])) for cut in range(1, len(times)))
    assert estimate.step_us == pytest.approx(best, rel=0.02)
    assert best < 0.8 * (estimate.cut_by_count(2) or 0)


@pytest.mark.parametrize("stages", [2, 3])
def test_no_other_cut_of_the_files_is_better(worker: Worker, stages: int) -> None:
    # The recipe's network: every cut of the line of its operators, by the estimate of the whole file.
    whole, cut = recipe_estimate(None, worker), recipe_estimate(stages, worker)
    times = [layer.microseconds or 0 for layer in whole.layers]
    best = min(
        max(sum(times[a:b]) for a, b in zip((0, *cuts), (*cuts, len(times)), strict=True))
        for cuts in combinations(range(1, len(times)), stages - 1)
    )
    assert cut.step_us is not None
    # Rounding and requantization of what crosses a cut may cost an operator or two.
    assert cut.step_us <= 1.15 * best


def test_explicit_paths_win() -> None:
    paths = ["stage0", "stage1", "stage2"]
    model = convert(shake(TutorialTcn(8, 16)), torch.randn(8, 40), Streaming(window=3, stages=paths))
    assert [stage.name for stage in model.spec.stages] == paths


def test_the_window_must_last_as_long_as_the_stages() -> None:
    assert convert(recipe(), torch.randn(32, 40), Streaming(stages=3)).window == 3
    with pytest.raises(WindowError, match=r"Streaming\(window=2\) is shorter than the 3 stages"):
        convert(recipe(), torch.randn(32, 40), Streaming(window=2, stages=3))


def test_a_hand_written_model_is_not_cut() -> None:
    case = CASES["two_caches"]
    with pytest.raises(ConfigurationError, match=r"stages=2\) cannot cut .* hand-written"):
        convert(case.module(), case.recordings(40)[0], Streaming(stages=2))


def test_more_stages_than_parts_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"stages=9\) asks for more .* use at most 2"):
        convert(
            nn.Sequential(nn.Conv1d(4, 4, 1), nn.ReLU(), nn.Conv1d(4, 4, 1)), torch.randn(4, 40), Streaming(stages=9)
        )


class Wide(nn.Module):
    """Sigmoids of many channels, then convolutions: an S3 pays for each byte of a sigmoid ten times what a P4 pays."""

    def __init__(self) -> None:
        super().__init__()
        self.narrow = nn.Conv1d(256, 32, 1)
        self.convs = nn.ModuleList(nn.Conv1d(32, 32, 1) for _ in range(8))

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = torch.sigmoid(x) * x
        x = self.narrow(x)
        for conv in self.convs:
            x = torch.relu(conv(x))
        return x


def test_stages_are_cut_by_the_costs_of_the_chip() -> None:
    module, recording = shake(Wide()), torch.randn(256, 40)
    streaming = Streaming(window=4, stages=2)
    cuts = {chip: convert(module, recording, streaming, targets=[chip]) for chip in ("esp32s3", "esp32p4")}
    assert cuts["esp32s3"].spec != cuts["esp32p4"].spec
    for chip, other in (("esp32s3", "esp32p4"), ("esp32p4", "esp32s3")):
        assert heaviest(cuts[chip], chip) < heaviest(cuts[other], chip)
    # Of several chips the slowest that figures exist for, in whatever order they come.
    for targets in (["esp32c2", "esp32p4", "esp32s3"], ["esp32s3", "esp32p4", "esp32c2"]):
        assert convert(module, recording, streaming, targets=targets).spec == cuts["esp32s3"].spec
    assert convert(module, recording, streaming, targets=["esp32c2", "esp32p4"]).spec == cuts["esp32p4"].spec


def heaviest(model: StreamingModel, target: str) -> float:
    """Microseconds of the costliest stage on a chip."""
    works = [work_of_stage(module, stage) for module, stage in zip(model.stages, model.spec.stages, strict=True)]
    return max(reference_chip(target).microseconds(work) for work in works if work is not None)
