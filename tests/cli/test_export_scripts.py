"""`lightning-esp export` for scripts with plain loaders, which are run up to their `fit`."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from lightning_esp import read_bundle
from lightning_esp.cli import main
from lightning_esp.errors import ConfigurationError
from lightning_esp.training.run import read_run

SCRIPT = """
import sys
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader
from lightning_esp import EspStreamingExport, Streaming


class Plain(pl.LightningModule):
    def __init__(self, channels):
        super().__init__()
        self.network = nn.Sequential(nn.Conv1d(4, channels, 1), nn.ReLU(), nn.Conv1d(channels, 3, 1))

    def training_step(self, batch, index):
        return self.network(batch).square().mean()

    def validation_step(self, batch, index):
        self.log("val_loss", self.network(batch).square().mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)


class Helper(pl.LightningModule):
    pass


def main():
    waves = torch.randn(8, 4, 24, generator=torch.Generator().manual_seed(3))
    export = EspStreamingExport("esp32p4", OUTPUT, streaming=Streaming(window=3))
    trainer = pl.Trainer(accelerator="cpu", max_epochs=1, callbacks=[export], logger=False)
    trainer.fit(Plain(int(sys.argv[1]) if len(sys.argv) > 1 else 6), DataLoader(waves, 4), DataLoader(waves, 4))
    raise AssertionError("fit has run")


GUARD
"""
GUARDED = 'if __name__ == "__main__":\n    main()'


def write_script(folder: Path, guard: str, name: str = "plain_script.py") -> Path:
    script = folder / name
    script.write_text(SCRIPT.replace("OUTPUT", repr(str(folder / "out"))).replace("GUARD", guard), encoding="utf-8")
    return script


def write_checkpoint(folder: Path, channels: int = 6) -> Path:
    """What a trainer of the script would have saved, hyperparameters not among it."""
    names: dict[str, type] = {}
    exec(compile(SCRIPT.partition("def main")[0], "plain", "exec"), names)
    torch.manual_seed(5)
    module = names["Plain"](channels)
    path = folder / "run" / "checkpoints" / "last.ckpt"
    path.parent.mkdir(parents=True)
    torch.save({"state_dict": module.state_dict(), "pytorch-lightning_version": pl.__version__}, path)
    return path


def test_a_script_gives_its_data_its_weights_and_its_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = write_checkpoint(tmp_path)
    kept = sys.modules["__main__"], pl.Trainer.fit, list(sys.argv)
    assert main(["export", str(checkpoint), "--recipe", str(write_script(tmp_path, GUARDED))]) == 0
    assert (sys.modules["__main__"], pl.Trainer.fit, sys.argv) == kept
    bundle = read_bundle(tmp_path / "out")
    assert capsys.readouterr().out.endswith(f"{bundle.path}\n")
    assert bundle.targets == ("esp32p4",)
    assert bundle.manifest["streaming"]["window"] == 3
    assert "val_loss" in bundle.manifest["metrics"]["float"]


@pytest.mark.parametrize("guard", [GUARDED, "main()"])
def test_a_script_is_run_up_to_its_fit(tmp_path: Path, guard: str) -> None:
    run = read_run(write_checkpoint(tmp_path), write_script(tmp_path, guard))
    assert next(iter(run.datamodule.val_dataloader())).shape == (4, 4, 24)
    expected = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt")["state_dict"]
    assert all(torch.equal(value, expected[name]) for name, value in run.module.state_dict().items())
    assert [type(callback).__name__ for callback in run.callbacks].count("EspStreamingExport") == 1


def test_arguments_of_a_script_stand_behind_two_dashes(tmp_path: Path) -> None:
    checkpoint, script = write_checkpoint(tmp_path, channels=9), write_script(tmp_path, GUARDED)
    with pytest.raises(ConfigurationError, match="does not fit"):
        read_run(checkpoint, script)
    assert read_run(checkpoint, script, ["9"]).module.network[0].out_channels == 9


def test_what_stops_a_script_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = write_checkpoint(tmp_path)
    broken = write_script(tmp_path, 'raise KeyError("no data here")', "broken_script.py")
    leaves = write_script(tmp_path, 'if __name__ == "__main__":\n    sys.exit(2)', "leaves_script.py")
    for script, words in (
        (broken, "line 37, ended before its fit: KeyError"),
        (leaves, "it exited. Give the arguments"),
    ):
        assert main(["export", str(checkpoint), "--recipe", str(script)]) == 2
        captured = capsys.readouterr().err
        assert words in captured
        assert captured.count("\n") == 1


def test_data_that_fail_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = write_checkpoint(tmp_path)
    script = write_script(tmp_path, GUARDED, "data_script.py")
    data = "class Data(pl.LightningDataModule):\n    def prepare_data(self):\n        raise IndexError('no recording')\n\n\n"
    text = script.read_text(encoding="utf-8").replace("class Helper(pl.LightningModule):\n    pass\n", data)
    script.write_text(text, encoding="utf-8")
    assert main(["export", str(checkpoint), "--recipe", str(script)]) == 2
    assert "does not fit" in capsys.readouterr().err
    script.write_text(text.replace("def __init__(self, channels)", "def __init__(self, channels=6)"), encoding="utf-8")
    assert main(["export", str(checkpoint), "--recipe", str(script)]) == 1
    captured = capsys.readouterr().err.splitlines()[-1]
    assert captured.startswith(f"lightning-esp: {script}, line ")
    assert "failed: IndexError: no recording. Run the recipe" in captured


def test_a_checkpoint_that_cannot_be_read_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script, checkpoint = write_script(tmp_path, GUARDED), write_checkpoint(tmp_path)
    cases = {"text.ckpt": b"hello", "short.ckpt": checkpoint.read_bytes()[:300], "empty.ckpt": b""}
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        assert main(["export", str(tmp_path / name), "--recipe", str(script)]) == 1
        captured = capsys.readouterr().err
        assert f"{name} cannot be read as a checkpoint" in captured
        assert captured.count("\n") == 1
    torch.save([1, 2], tmp_path / "list.ckpt")
    assert main(["export", str(tmp_path / "list.ckpt"), "--recipe", str(script)]) == 1
    assert "holds no 'state_dict'" in capsys.readouterr().err


class Opened:
    """What a pickle may do: run anything."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path(os.environ["OPENED"]),)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("arguments", "answer", "code"), [([], None, 1), ([], "n\n", 1), ([], "y\n", 0), (["--trust"], None, 0)]
)
def test_objects_of_a_checkpoint_are_read_where_it_is_trusted(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    answer: str | None,
    code: int,
) -> None:
    checkpoint, script = write_checkpoint(tmp_path), write_script(tmp_path, GUARDED)
    monkeypatch.setenv("OPENED", str(tmp_path / "opened"))
    torch.save({**torch.load(checkpoint), "more": Opened()}, checkpoint)
    terminal = io.StringIO(answer or "")
    monkeypatch.setattr(terminal, "isatty", lambda: answer is not None)
    monkeypatch.setattr(sys, "stdin", terminal)
    assert main(["export", str(checkpoint), "--recipe", str(script), *arguments]) == code
    assert (tmp_path / "opened").exists() == (code == 0)
    said = capsys.readouterr().err
    assert ("export with --trust" in said) == (code == 1)
    assert ("Read it all the same?" in said) == (answer is not None)
