"""The recipe with the hand-written, three-part form: its parts stream, and a short training exports them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from lightning_esp import Streaming, convert

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipes" / "tutorial_tcn.py"
STAGES = ["gather", "mix", "decide"]


@pytest.fixture
def recipes(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(RECIPE.parent))
    import tutorial_tcn

    return tutorial_tcn


@pytest.fixture
def spotter(recipes: ModuleType) -> Any:
    torch.manual_seed(0)
    spotter = recipes.TutorialSpotter([f"word_{n}" for n in range(12)], channels=16, expanded=32).eval()
    for module in spotter.network.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return spotter


@pytest.mark.parametrize("window", [3, 6, 24])
def test_the_three_parts_stream_as_they_are_trained(spotter: Any, window: int) -> None:
    network = spotter.network.double()
    features = torch.randn(2, 32, 50, dtype=torch.float64)
    model = convert(network, features[:1], Streaming(window=window, stages=STAGES))
    assert [stage.name for stage in model.spec.stages] == STAGES
    assert [cache.name for cache in model.spec.caches] == ["gather.cache", "decide.cache"]
    with torch.no_grad():
        offline, streamed = network(features), model.run(features)
    assert isinstance(streamed, torch.Tensor)
    assert offline.std() > 0.1
    assert (streamed - offline).abs().max() <= 1e-10


def test_every_part_has_the_hand_written_form(spotter: Any) -> None:
    assert [name for name, part in spotter.network.named_children() if hasattr(part, "streaming_forward")] == STAGES


def test_a_short_fit_exports_three_stages(tmp_path: Path) -> None:
    command = [sys.executable, str(RECIPE), "fit", "--trainer.enable_progress_bar", "false"]
    command += ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2", "--export.dry_run", "false"]
    # Decisions after two steps are close to guesses, in integers still more so.
    command += ["--export.output_dir", "bundle", "--export.quantization.tolerance", "0.3", "--model.channels", "32"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    assert manifest["streaming"]["window"] == 3
    (target,) = manifest["targets"].values()
    assert [stage["name"] for stage in target["stages"]] == STAGES
    assert all(proof["passed"] for proof in manifest["proofs"])
    assert len(list((tmp_path / "bundle").glob("components/lesp_model/esp32s3/*.espdl"))) == 3
