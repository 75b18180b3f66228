"""Rules of `docs/design.md` and of the pins that no other tool checks."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path for folder in ("lightning_esp", "recipes", "benchmarks") for path in (ROOT / folder).rglob("*.py")
)
MOST_LINES = 400
MOST_FUNCTION_LINES = 55
MOST_PATTERN = 60


def names(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=names)
def test_a_file_fits_the_eye(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


@pytest.mark.parametrize("path", SOURCES, ids=names)
def test_its_functions_fit_the_eye(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
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


TESTS = sorted(path for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__))
# In scripts that a test runs in a process of its own as well, so the text is searched.
FROM_TESTS = re.compile(r"(?:from|import)\s+tests(?:\.\w+)*(?:\.test_|\s+import\s+test_)\w+")


@pytest.mark.parametrize("path", TESTS, ids=names)
def test_what_tests_share_is_no_test(path: Path) -> None:
    """Helpers stand in `tests/support/`, or in a module of their folder: importing a test collects it, or its data, twice."""
    assert FROM_TESTS.findall(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        "from tests.cpp.test_audio import SOURCES",
        "import tests.test_export",
        "from tests.cpp import test_audio",
        "    from tests.test_export import x",
    ],
)
def test_an_import_of_a_test_would_be_seen(line: str) -> None:
    assert FROM_TESTS.search(line)


def literal(node: ast.AST) -> str:
    """Return what an expression spells out, without what it formats in."""
    return "".join(n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str))


def patterns(tree: ast.Module) -> Iterator[str]:
    """Yield what tests give as `match=`, in place or by the name of a column of their rows."""
    tables = {ast.unparse(node.targets[0]): node.value for node in tree.body if isinstance(node, ast.Assign)}
    tables |= {ast.unparse(n.target): n.value for n in tree.body if isinstance(n, ast.AnnAssign) and n.value}
    for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]:
        given = [node.value for node in ast.walk(function) if isinstance(node, ast.keyword) and node.arg == "match"]
        yield from map(literal, given)
        used = {node.id for value in given for node in ast.walk(value) if isinstance(node, ast.Name)}
        for mark in [call for call in function.decorator_list if isinstance(call, ast.Call)]:
            if ast.unparse(mark.func).endswith("parametrize"):
                yield from columns(
                    ast.literal_eval(mark.args[0]), tables.get(ast.unparse(mark.args[1]), mark.args[1]), used
                )


def columns(names: str | tuple[str, ...], table: ast.expr, used: set[str]) -> Iterator[str]:
    """Yield the literals in those columns of a parametrized table that are used."""
    names = tuple(re.split(r",\s*", names)) if isinstance(names, str) else names
    for row in table.elts if isinstance(table, ast.List | ast.Tuple) else []:
        cells = row.args if isinstance(row, ast.Call) else row.elts if isinstance(row, ast.Tuple) else [row]
        yield from (literal(cell) for name, cell in zip(names, cells, strict=False) if name in used)


@pytest.mark.parametrize("path", TESTS, ids=names)
def test_errors_are_told_by_a_phrase(path: Path) -> None:
    """An argument, a value or a few words tell an error from its neighbours; whole sentences break with every rewording."""
    assert [p for p in patterns(ast.parse(path.read_text(encoding="utf-8"))) if len(p) > MOST_PATTERN] == []


@pytest.mark.parametrize(
    "source",
    [
        "def test():\n    with raises(E, match={0!r}): pass",
        "def test():\n    with raises(E, match=f'{{x}}' + {0!r}): pass",
        "@parametrize('give, told', [(1, {0!r})])\ndef test(give, told):\n    with raises(E, match=told): pass",
        "@parametrize('told', [{0!r}])\ndef test(told):\n    with raises(E, match=told): pass",
        "ALL = [param({0!r})]\n@parametrize('told', ALL)\ndef test(told):\n    with raises(E, match=told): pass",
    ],
    ids=["in place", "formatted", "a column", "a row", "a table"],
)
def test_a_long_pattern_would_be_seen(source: str) -> None:
    sentence = "x" * (MOST_PATTERN + 1)
    assert sentence in list(patterns(ast.parse(source.format(sentence))))
