"""Rules of `docs/design.md` and of the pins that no other tool checks."""

from __future__ import annotations

import ast
import re
from importlib.metadata import requires
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path for folder in ("lightning_esp", "recipes", "benchmarks") for path in (ROOT / folder).rglob("*.py")
)
MOST_LINES = 400
MOST_FUNCTION_LINES = 55


def names(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=names)
def test_a_file_and_its_functions_fit_the_eye(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = {node.name: (node.end_lineno or 0) - node.body[0].lineno + 1 for node in functions}
    assert {name: lines for name, lines in lengths.items() if lines > MOST_FUNCTION_LINES} == {}


def test_pins_are_names_and_versions_only() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    strange = [pin for pin in pins if not re.fullmatch(r'[a-z0-9-]+==[\w.+]+(; python_version >= "3\.\d+")?', pin)]
    assert strange == []
    found = [pin.split("==")[0] for pin in pins]
    assert found == sorted(set(found))


def test_every_direct_dependency_is_pinned() -> None:
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()}
    direct = {re.split(r"[^\w-]", requirement)[0].lower() for requirement in requires("lightning-esp") or []}
    assert direct
    assert direct - pinned == set()
