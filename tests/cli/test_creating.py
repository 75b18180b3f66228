"""`lightning-esp new`: what it writes is whole, and nothing is overwritten."""

from __future__ import annotations

import ast
import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lightning_esp.cli import main

ROOT = Path(__file__).parents[2]
KINDS = {"kws": "kws_tcn", "wake_word": "wake_word", "sensor": "sensor_tcn"}


def imports(path: Path) -> set[str]:
    """First names of what a file imports."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return {name.split(".")[0] for name in plain | {n.module or "" for n in nodes if isinstance(n, ast.ImportFrom)}}


@pytest.mark.parametrize("kind", KINDS)
def test_a_project_is_whole(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = tmp_path / "deep" / kind
    assert main(["new", kind, str(project)]) == 0
    assert f"python {KINDS[kind]}.py fit" in capsys.readouterr().out
    ours = {path.stem for path in (ROOT / "recipes").glob("*.py")}
    files = {path.stem: path for path in project.glob("*.py")}
    assert {*files} >= {KINDS[kind], "test_recipe"}
    needed = set().union(*(imports(path) & ours for path in files.values()))
    assert needed == {*files} - {KINDS[kind], "test_recipe"}
    words = "".join(
        path.read_text(encoding="utf-8") for path in project.rglob("*") if path.suffix in (".py", ".md", ".yaml")
    )
    assert not any(word in words for word in ("recipes/", "RECIPE", "TITLE", "EXAMPLE"))
    config = yaml.safe_load((project / f"{KINDS[kind]}.yaml").read_text(encoding="utf-8"))
    if kind == "wake_word":
        assert config["phrases"] == ["hey device"]
        assert "wakeword" in (project / "requirements.txt").read_text(encoding="utf-8")
        return
    data = project / config["data"]["root"]
    with (data / "index.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["split"] for row in rows} == {"train", "val", "test"}
    assert all((data / row["path"]).is_file() for row in rows)
    assert {row["label"] for row in rows} == {path.name for path in data.iterdir() if path.is_dir()}


def test_two_of_one_kind_are_the_same(tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert main(["new", "sensor", str(tmp_path / name)]) == 0
    first, second = (
        {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file()
        }
        for name in ("a", "b")
    )
    assert first == second


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").write_text("mine", encoding="utf-8")
    for place in (tmp_path, tmp_path / "mine", tmp_path / "mine" / "below"):
        assert main(["new", "sensor", str(place)]) == 2
        captured = capsys.readouterr().err
        assert f"DIR {place}" in captured
        assert captured.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
def test_a_project_runs_as_it_is(kind: str, tmp_path: Path) -> None:
    assert main(["new", kind, str(tmp_path / kind)]) == 0
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        command, cwd=tmp_path / kind, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
