"""Pruning to a budget: as few channels as need be, the costly ones first, and a bundle that keeps the limit."""

import copy
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from lightning_esp import Budget
from lightning_esp.errors import BudgetError
from lightning_esp.quantization import Worker

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "recipes" / "prune.py"


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import prune

    return prune


@pytest.fixture
def network(recipe: ModuleType) -> nn.Module:
    from tcn import KeywordTcn

    torch.manual_seed(0)
    return KeywordTcn(32, 5, 48, 3, (1, 2), (8, 16)).eval()


def test_as_few_channels_go_as_the_budget_allows(recipe: ModuleType, network: nn.Module, worker: Worker) -> None:
    state = copy.deepcopy(network.state_dict())
    seen: list[int] = []

    def measure(module: nn.Module) -> object:
        cost = recipe.estimate(module, 32, "esp32s3", worker)
        seen.append(cost.flash)
        return cost

    pruned, cost = recipe.prune_to_budget(network, 32, Budget(flash=26000), measure)
    # What was measured before was too large still.
    *larger, last = seen
    assert min(larger) > 26000 >= last == cost.flash
    assert len(seen) > 2
    assert recipe.estimate(pruned, 32, "esp32s3", worker).flash == cost.flash
    widths = {module.out_channels for module in pruned.modules() if isinstance(module, nn.Conv1d | nn.Conv2d)} - {5}
    assert {width % recipe.MULTIPLE for width in widths} == {0}
    assert pruned(torch.randn(2, 32, 20)).shape == (2, 5, 20)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    kept, _ = recipe.prune_to_budget(network, 32, Budget(flash=10**6), measure)
    assert all(torch.equal(value, state[name]) for name, value in kept.state_dict().items())
    with pytest.raises(BudgetError, match="flash"):
        recipe.prune_to_budget(network, 32, Budget(flash=1000), measure)


class Branches(nn.Module):
    """Two layers of the same weights, neither of which sees the other."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cheap, self.dear = nn.Conv1d(32, 32, 1), nn.Conv1d(32, 32, 1)
        self.dear.load_state_dict(self.cheap.state_dict())
        self.one, self.two = nn.Conv1d(32, 4, 1), nn.Conv1d(32, 4, 1)
        self.two.load_state_dict(self.one.state_dict())
        self.last = nn.Conv1d(8, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.cat([self.one(torch.relu(self.cheap(x))), self.two(torch.relu(self.dear(x)))], 1))


def test_what_costs_more_goes_first(recipe: ModuleType) -> None:
    network = Branches()
    pruned = next(recipe.shrink(network, 32, {"cheap": 1.0, "dear": 20.0, "one": 1.0, "two": 1.0}))
    assert (pruned.cheap.out_channels, pruned.dear.out_channels) == (32, 24)
    pruned = next(recipe.shrink(network, 32, {"cheap": 20.0, "dear": 1.0, "one": 1.0, "two": 1.0}))
    assert (pruned.cheap.out_channels, pruned.dear.out_channels) == (24, 32)


def test_a_checkpoint_is_pruned_trained_and_exported(recipe: ModuleType, tmp_path: Path) -> None:
    torch.manual_seed(0)
    labels = recipe.SpeechData(root=ROOT / "datasets" / "tiny_kws").labels
    trained = recipe.KeywordSpotter(labels, channels=32, maps=(8, 16), dilations=(1, 2))
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, default_root_dir=tmp_path)
    trainer.strategy.connect(trained)
    trainer.save_checkpoint(tmp_path / "trained.ckpt")
    options = ["--flash=27500", "--epochs=1", "--batches=2", "--out=pruned", "--tolerance=1"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "trained.ckpt", *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = {line[:28].strip(): line[28:].split() for line in done.stdout.splitlines() if "%" in line}
    assert list(rows) == ["as it was", "pruned", "and trained further", "and in integers"]
    flash = {name: int(row[-2].replace(",", "")) for name, row in rows.items()}
    assert flash["as it was"] > 27500 >= flash["pruned"]
    manifest = json.loads((tmp_path / "pruned" / "bundle" / "manifest.json").read_text())
    assert manifest["targets"]["esp32s3"]["estimate"]["flash"] <= 27500
    assert float(rows["and in integers"][0]) / 100 == pytest.approx(
        manifest["metrics"]["quantized"]["esp32s3"]["val_acc"], abs=1e-3
    )
