"""The search over architectures, with a recipe that takes no time: its front, its failures, and going on after a kill."""

import json
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "recipes" / "search.py"
# More channels are better and dearer, but 3 are no better than 2; 7 cannot be exported.
RECIPE = """
import json, os, pathlib, sys, time
options = dict(argument.lstrip("-").split("=", 1) for argument in sys.argv[2:])
channels = int(options["model.channels"])
time.sleep(float(options.get("sleep", 0)))
if channels == 7:
    print("Epoch 0", file=sys.stderr)
    raise RuntimeError("dry run: 7 channels cannot be exported")
bundle = pathlib.Path(options["export.output_dir"])
bundle.mkdir(parents=True)
figures = {"val_acc": 0.5 + 0.1 * min(channels, 2) + 0.01 * max(0, channels - 3)}
estimate = {"step_us": 100 * channels, "flash": 1000 * channels, "ram": 10}
text = {"metrics": {"quantized": {"esp32s3": figures}}, "targets": {"esp32s3": {"estimate": estimate}}}
(bundle / "manifest.json").write_text(json.dumps(text))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "recipe.py").write_text(RECIPE)
    (tmp_path / "space.yaml").write_text("model.channels: [1, 2, 3, 4, 7]\n")
    return tmp_path


def command(*arguments: str) -> list[str]:
    return [sys.executable, str(SCRIPT), "--recipe", "recipe.py", "--space", "space.yaml", "--out", "out", *arguments]


def search(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), cwd=folder, capture_output=True, text=True, check=False)


def test_the_front_is_found_and_failures_are_told(folder: Path) -> None:
    done = search(folder, "--trials", "16")
    assert done.returncode == 0, done.stderr
    header, *rows = [line for line in done.stdout.splitlines() if " failed: " not in line and "out/" not in line]
    assert header.split() == ["trial", "val_acc", "step_us", "options"]
    # 3 channels cost more than 2 and are no better.
    assert [row.split()[1:] for row in rows] == [
        ["0.6000", "100", "channels", "1"],
        ["0.7000", "200", "channels", "2"],
        ["0.7100", "400", "channels", "4"],
    ]
    assert (folder / "out" / "pareto.png").read_bytes().startswith(b"\x89PNG")
    failed = [line for line in done.stdout.splitlines() if " failed: " in line]
    assert all(line.endswith("failed: RuntimeError: dry run: 7 channels cannot be exported") for line in failed)
    assert len(list((folder / "out").glob("trial_*/bundle"))) == 16
    assert len(list((folder / "out").glob("trial_*"))) == 16 + len(failed)


def test_a_search_goes_on_after_it_was_killed(folder: Path) -> None:
    slow = subprocess.Popen(command("--trials", "6", "--", "--sleep=1"), cwd=folder, stderr=subprocess.DEVNULL)
    for _ in range(300):
        if len(list((folder / "out").glob("trial_*/bundle/manifest.json"))) >= 2:
            break
        time.sleep(0.2)
    slow.kill()
    slow.wait()
    before = {path: path.read_bytes() for path in (folder / "out").glob("trial_*/bundle/manifest.json")}
    assert 2 <= len(before) < 6
    done = search(folder, "--trials", "6")
    assert done.returncode == 0, done.stderr
    assert all(path.read_bytes() == data for path, data in before.items())
    assert len(before) < len(list((folder / "out").glob("trial_*/bundle")))
    again = search(folder, "--trials", "6")
    assert again.stdout == done.stdout
    assert json.loads(min(before).read_text())["targets"]


def test_what_the_recipe_does_not_log_is_told(folder: Path) -> None:
    done = search(folder, "--trials", "1", "--metric", "val_f1")
    assert done.returncode == 1
    assert "--metric val_f1: the recipe logs ['val_acc']" in done.stdout + done.stderr
    assert (folder / "out" / "trial_0000").exists()
    assert not (folder / "out" / "trial_0001").exists()


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import search

    return search


def test_what_cannot_be_exported_ends_before_the_first_epoch(module: ModuleType, tmp_path: Path) -> None:
    given = module.read_arguments(["--trials", "1", "--", "--model.kernel=5"])
    assert given.options == ["--model.kernel=5"]
    for name in module.SPACE:
        assert name.startswith("model.")
    log = subprocess.run(
        [
            sys.executable,
            str(given.recipe),
            "fit",
            *module.FIXED,
            f"--export.output_dir={tmp_path / 'bundle'}",
            f"--trainer.default_root_dir={tmp_path}",
            "--export.deployment.budget.flash=1000",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert log.returncode != 0
    assert "BudgetError" in module.find_error(log.stderr)
    assert not list(tmp_path.rglob("*.ckpt"))
