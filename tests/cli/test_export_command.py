"""`lightning-esp export`: the bundle of a finished run, from its checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytorch_lightning as pl
import yaml

from lightning_esp import EspStreamingExport, Quantization, Streaming, read_bundle
from lightning_esp.cli import main
from lightning_esp.cli.exporting import read_options
from lightning_esp.config import Budget, Detector
from lightning_esp.errors import ConfigurationError
from lightning_esp.training.run import read_run

RECIPE = """
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader


class ToyData(pl.LightningDataModule):
    def __init__(self, clips=8, seed=0):
        super().__init__()
        self.clips, self.seed, self.labels = clips, seed, ["a", "b", "c"]

    def setup(self, stage):
        self.waves = torch.randn(self.clips, 4, 24, generator=torch.Generator().manual_seed(self.seed))

    def train_dataloader(self):
        return DataLoader(self.waves, batch_size=4)

    def val_dataloader(self):
        return DataLoader(self.waves, batch_size=4)


class Toy(pl.LightningModule):
    def __init__(self, channels=6):
        super().__init__()
        self.save_hyperparameters()
        self.network = nn.Sequential(nn.Conv1d(4, channels, 1), nn.ReLU(), nn.Conv1d(channels, 3, 1))

    def training_step(self, batch, index):
        return self.network(batch).square().mean()

    def validation_step(self, batch, index):
        self.log("val_loss", self.network(batch).square().mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A checkpoint, its recipe, and the bundle that the callback wrote."""
    folder = tmp_path_factory.mktemp("run")
    recipe, checkpoint = folder / "toy_recipe.py", folder / "version_0" / "checkpoints" / "last.ckpt"
    recipe.write_text(RECIPE, encoding="utf-8")
    checkpoint.parent.mkdir(parents=True)
    export = {
        "target": "esp32s3",
        "streaming": {"window": 2},
        "deployment": {"name": "toy", "detector": {"average": 2}},
    }
    config = {"data": {"clips": 6, "seed": 3}, "export": export}
    (checkpoint.parent.parent / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")

    pl.seed_everything(5)
    trainer = pl.Trainer(
        accelerator="cpu", max_steps=1, logger=False, enable_checkpointing=False, default_root_dir=folder
    )
    # Before the first checkpoint there is nothing to read a run from, so the classes come from the recipe itself.
    names: dict[str, type] = {}
    exec(compile(RECIPE, "toy", "exec"), names)
    module, data = names["Toy"](channels=10), names["ToyData"](clips=6, seed=3)
    trainer.fit(module, data)
    trainer.save_checkpoint(checkpoint)
    callback = EspStreamingExport(
        output_dir=folder / "direct",
        weights="last",
        **{name: value for name, value in read_options(export).items() if name != "output_dir"},
    )
    callback.export(pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False), module, data)
    return checkpoint, recipe, folder / "direct"


def contents(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


def test_the_bundle_is_that_of_the_callback(run: tuple[Path, Path, Path], tmp_path: Path) -> None:
    checkpoint, recipe, direct = run
    assert main(["export", str(checkpoint), "--recipe", str(recipe), "--output", str(tmp_path / "out")]) == 0
    assert contents(tmp_path / "out") == contents(direct)
    assert read_bundle(tmp_path / "out").name == "toy"
    assert read_bundle(tmp_path / "out").labels == ("a", "b", "c")


def test_another_chip_and_precision(run: tuple[Path, Path, Path], tmp_path: Path) -> None:
    checkpoint, recipe, _ = run
    arguments = ["export", str(checkpoint), "--recipe", str(recipe), "--output", str(tmp_path / "out")]
    assert main([*arguments, "--target", "esp32p4", "--precision", "int16"]) == 0
    bundle = read_bundle(tmp_path / "out")
    assert bundle.targets == ("esp32p4",)
    assert bundle.manifest["targets"]["esp32p4"]["precision"] == "int16"


def test_a_precision_is_found(run: tuple[Path, Path, Path], tmp_path: Path) -> None:
    checkpoint, recipe, _ = run
    arguments = ["export", str(checkpoint), "--recipe", str(recipe), "--output", str(tmp_path / "out")]
    assert main([*arguments, "--precision", "auto"]) == 0
    search_precision = read_bundle(tmp_path / "out").manifest["targets"]["esp32s3"]["precision_search"]
    assert [candidate["outcome"] for candidate in search_precision["candidates"]].count("chosen") == 1
    assert search_precision["candidates"][0]["name"] == "int8, kl"


def test_what_is_wrong_is_said(
    run: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, recipe, _ = run
    empty = tmp_path / "empty_recipe.py"
    empty.write_text("import math\n", encoding="utf-8")
    for given, words in (
        (tmp_path / "absent.py", "is not a file"),
        (empty, "trained nothing when it was run"),
    ):
        assert main(["export", str(checkpoint), "--recipe", str(given)]) == 2
        assert words in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["export", str(checkpoint), "--recipe", str(recipe), "--target", "esp8266"])
    other = tmp_path / "other_recipe.py"
    other.write_text(RECIPE.replace("nn.ReLU()", "nn.Conv1d(channels, channels, 1)"), encoding="utf-8")
    with pytest.raises(ConfigurationError, match="does not fit"):
        read_run(checkpoint, other)


def test_options_of_a_config_become_dataclasses() -> None:
    found = read_options(
        {
            "target": ["esp32s3"],
            "weights": "best",
            "quantization": {"int16": ["head"], "tolerance": 0.01},
            "deployment": {"budget": {"ram": 1000}, "detector": {"minimum": 2}, "labels": ["x"]},
        }
    )
    assert found["quantization"] == Quantization(int16=("head",), tolerance=0.01)
    assert found["deployment"].budget == Budget(ram=1000)
    assert found["deployment"].detector == Detector(minimum=2)
    assert found["streaming"] == Streaming()
    assert "weights" not in found
