"""`export`: from a module to a bundle, or an exception that says what to do and an older bundle that is still there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lightning_esp import Bundle, Calibration, Deployment, Quantization, Streaming, export, read_bundle, simulate
from lightning_esp.errors import (
    NotCausalError,
    ProofError,
    QuantizationError,
)
from lightning_esp.verification import Proof, TaskResult
from tests.models.contracts import CASES, Skip
from tests.models.tutorial_tcn import shake
from tests.support.exports import Padded, Refused, Wrong, contents

CASE = CASES["tutorial"]


def test_a_bundle_appears_for_every_target(bundle: Bundle) -> None:
    assert set(bundle.targets) == {"esp32s3", "esp32p4"}
    assert read_bundle(bundle.path).manifest == bundle.manifest
    for target in bundle.targets:
        stages = bundle.manifest["targets"][target]["stages"]
        assert [stage["name"] for stage in stages] == ["stage0", "stage1", "stage2"]
        assert all((bundle.path / stage["file"]).read_bytes()[:4] == b"EDL2" for stage in stages)
    assert bundle.manifest["proofs"]
    assert (bundle.path / "CMakeLists.txt").is_file()


ONCE = """
import sys
from lightning_esp import export
from tests.models.contracts import CASES
case = CASES["tutorial"]
export(case.module(), case.recordings(40, 41, 24, 7), sys.argv[1], ("esp32s3", "esp32p4"), case.streaming)
"""


@pytest.mark.parametrize("seed", ["1", "2"])
def test_the_same_weights_give_the_same_bytes(bundle: Bundle, tmp_path: Path, seed: str) -> None:
    root = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    path = tmp_path / "elsewhere" / "again"
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ONCE, path],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        check=True,
    )
    assert contents(path) == contents(bundle.path)
    assert (result.stdout, result.stderr) == (b"", b"")


@pytest.mark.usefixtures("quick")
def test_other_weights_replace_an_older_bundle(tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    first = export(CASE.module(), CASE.recordings(40, 24), path, streaming=CASE.streaming)
    before = contents(path)
    second = export(CASE.module(seed=5), CASE.recordings(40, 24), path, streaming=CASE.streaming)
    assert first.path == second.path
    assert contents(path).keys() == before.keys()
    assert contents(path) != before
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_module_is_left_as_it_was(tmp_path: Path, dtype: torch.dtype) -> None:
    module = CASE.module().to(dtype).train()
    module.stage1.eval()
    module.stage0.prev_conv.weight.requires_grad_(False)
    module.stage2.conv.bias.grad = torch.ones(8, dtype=dtype)
    modes = {name: part.training for name, part in module.named_modules()}
    before = {name: value.clone() for name, value in module.state_dict().items()}
    random = torch.get_rng_state()
    recordings = [recording.to(dtype) for recording in CASE.recordings(40, 24)]
    copies = [recording.clone() for recording in recordings]
    export(module, recordings, tmp_path / "bundle", streaming=CASE.streaming)
    assert {name: part.training for name, part in module.named_modules()} == modes
    after = module.state_dict()
    assert all(torch.equal(after[name], value) and after[name].dtype == value.dtype for name, value in before.items())
    assert not module.stage0.prev_conv.weight.requires_grad
    assert module.stage1.layers[0].weight.requires_grad
    assert torch.equal(module.stage2.conv.bias.grad, torch.ones(8, dtype=dtype))
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
    assert all(torch.equal(a, b) for a, b in zip(recordings, copies, strict=True))
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.usefixtures("quick")
def test_training_leftovers_in_recordings_are_taken(tmp_path: Path) -> None:
    first, second = CASE.recordings(40, 24)
    export(CASE.module(), [first.half().float(), second], tmp_path / "plain", streaming=CASE.streaming)
    export(CASE.module(), [first.half(), second.clone().requires_grad_()], tmp_path / "mixed", streaming=CASE.streaming)
    assert contents(tmp_path / "plain") == contents(tmp_path / "mixed")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", ["two_inputs", "two_outputs", "recurrent", "conv2d", "strided", "valid"])
def test_every_kind_of_model_becomes_a_bundle(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    module, recordings = case.module(), case.recordings(40, 24)
    bundle = export(module, recordings, tmp_path / "bundle", streaming=case.streaming)
    with torch.no_grad():
        named = recordings[0] if isinstance(recordings[0], dict) else {"x": recordings[0]}
        offline = module(**{key: value.unsqueeze(0) for key, value in named.items()})
    found = simulate(bundle, recordings[0])
    shapes = [list(value.shape[1:]) for value in (offline if isinstance(offline, tuple) else (offline,))]
    assert [list(value.shape) for value in (found if isinstance(found, tuple) else (found,))] == shapes


@pytest.mark.usefixtures("quick")
def test_options_reach_their_verbs(tmp_path: Path) -> None:
    bundle = export(
        CASE.module(),
        CASE.recordings(40, 24),
        tmp_path / "bundle",
        "esp32p4",
        replace(CASE.streaming, frame_period=0.016),
        Calibration(max_windows=5),
        Quantization(precision="int16"),
        Deployment(labels=tuple("abcdefgh"), name="kws"),
    )
    assert (bundle.name, bundle.labels, bundle.targets) == ("kws", tuple("abcdefgh"), ("esp32p4",))
    assert bundle.manifest["streaming"]["frame_period"] == 0.016
    assert bundle.manifest["targets"]["esp32p4"]["stages"][0]["inputs"][0]["dtype"] == "int16"


@pytest.mark.usefixtures("quick")
def test_progress_goes_from_phase_to_phase(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    export(
        CASE.module(),
        CASE.recordings(12),
        tmp_path / "bundle",
        ["esp32s3", "esp32p4", "esp32s3"],
        CASE.streaming,
        evaluate=lambda module: TaskResult({}, {}),
        progress=lambda *step: seen.append(step),
    )
    assert list(dict.fromkeys(phase for phase, _, _ in seen)) == ["calibrate", "quantize", "evaluate"]
    assert [step for step in seen if step[0] == "quantize"] == [("quantize", i, 2) for i in (0, 1, 1, 2)]


@pytest.mark.usefixtures("quick")
def test_the_users_own_metrics_judge_every_target(tmp_path: Path) -> None:
    outputs: list[Tensor] = []

    def evaluate(module: nn.Module) -> TaskResult:
        outputs.append(module(CASE.recordings(40)[0].unsqueeze(0)))
        return TaskResult(
            {"accuracy": 0.9}, {"accuracy": 0.89}, (Proof("decisions agree", 0.0, 0.02, True),), ("a note",)
        )

    arguments = (CASE.module(), CASE.recordings(40, 24), tmp_path / "bundle", ["esp32s3", "esp32p4"], CASE.streaming)
    bundle = export(*arguments, evaluate=evaluate)
    assert [output.shape for output in outputs] == [(1, 8, 40)] * 2
    assert bundle.manifest["metrics"]["float"] == {"accuracy": 0.9}
    assert bundle.manifest["metrics"]["quantized"]["esp32p4"] == {"accuracy": 0.89}
    before = contents(bundle.path)
    failed = TaskResult({}, {}, (Proof("decisions agree", 0.5, 0.02, False, "recording 3", "Train longer."),))
    with pytest.raises(
        ProofError,
        match=r"decisions agree: 0\.5, .* recording 3\..* longer",
    ):
        export(*arguments, evaluate=lambda module: failed)
    assert contents(bundle.path) == before


@pytest.fixture
def older(tmp_path: Path, quick: None) -> Iterator[Path]:
    """A bundle that must be there, and be the only thing there, after the test."""
    path = tmp_path / "bundle"
    export(CASES["stateless"].module(), [torch.randn(8, 20)], path)
    before = contents(path)
    yield path
    assert contents(path) == before
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.parametrize(
    ("module", "error"),
    [(Wrong(), ProofError), (Padded(), NotCausalError), (Refused(), QuantizationError)],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_a_failure_leaves_the_older_bundle(older: Path, module: nn.Module, error: type[Exception]) -> None:
    with pytest.raises(error):
        export(shake(module), [torch.randn(8, 40)], older, streaming=Streaming(time_axis=2))


def test_a_failing_evaluation_leaves_the_older_bundle(older: Path) -> None:
    def evaluate(module: nn.Module) -> TaskResult:
        raise KeyError("the user's own mistake")

    with pytest.raises(KeyError, match="the user's own mistake"):
        export(shake(Skip()), [torch.randn(8, 40)], older, evaluate=evaluate)


def pointwise() -> tuple[nn.Module, list[Tensor]]:
    """The smallest network that has something to choose from."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv1d(8, 8, 1), nn.Tanh(), nn.Conv1d(8, 4, 1))
    return shake(module), list(torch.randn(3, 8, 30))


@pytest.mark.usefixtures("quick")
def test_the_candidates_of_a_precision_search_stand_in_manifest_report_and_page(tmp_path: Path) -> None:
    auto = Quantization("auto", tolerance=0.1)
    module, recordings = pointwise()
    first, again = (
        export(module, recordings, tmp_path / name, ("esp32s3", "esp32p4"), quantization=auto) for name in ("a", "b")
    )
    assert contents(first.path) == contents(again.path)
    for target in first.targets:
        search_precision = first.manifest["targets"][target]["precision_search"]
        assert first.report["targets"][target]["precision_search"] == search_precision
        assert search_precision["tolerance"] == 0.1
        assert [candidate["name"] for candidate in search_precision["candidates"]][:2] == [
            "int8, kl",
            "int8, percentile",
        ]
        assert [candidate["outcome"] for candidate in search_precision["candidates"]].count("chosen") == 1
        assert first.manifest["targets"][target]["precision"] == "int8"
    page = (first.path / "report.html").read_text()
    assert all(candidate["name"] in page for candidate in search_precision["candidates"])
    plain = export(module, recordings, tmp_path / "plain")
    assert "precision_search" not in plain.manifest["targets"]["esp32s3"]
    assert "int8, percentile" not in (plain.path / "report.html").read_text()


@pytest.mark.usefixtures("quick")
def test_the_users_metrics_lead_the_precision_search_and_an_older_bundle_stays(tmp_path: Path) -> None:
    judged: list[float] = []

    def judge(stream: nn.Module) -> TaskResult:
        judged.append(0.7 + 0.01 * len(judged))
        proof = Proof("acc holds", 0.2, 0.005, judged[-1] >= least, f"acc is {judged[-1]:.2f}", "Try more.")
        return TaskResult({"acc": 0.9}, {"acc": judged[-1]}, (proof,))

    module, recordings = pointwise()
    auto = Quantization("auto")
    least = 0.71
    written = export(module, recordings, tmp_path / "b", quantization=auto, evaluate=judge)
    assert judged == [0.7, 0.71]
    assert written.manifest["metrics"]["quantized"]["esp32s3"] == {"acc": 0.71}
    before, least = contents(tmp_path / "b"), 2.0
    with pytest.raises(ProofError, match=r"(?s)none of \d+ candidates .*rejected: acc is"):
        export(module, recordings, tmp_path / "b", quantization=auto, evaluate=judge)
    assert contents(tmp_path / "b") == before
