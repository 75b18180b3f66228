"""Docstrings begin with a verb or a noun phrase, and their examples run and print what they say."""

from __future__ import annotations

import ast
import doctest
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [path for path in sorted((ROOT / "lightning_esp").rglob("*.py")) if ">>>" in path.read_text(encoding="utf-8")]

FOLDERS = ("lightning_esp", "recipes", "benchmarks", "tests/support")
SOURCES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
# Words that open a question or a clause, not a sentence that says what the thing is or does.
OPENINGS = frozenset(
    {"what", "whatever", "how", "whether", "where", "wherever", "why", "which", "whichever", "when", "whenever"}
    | {"who", "whoever", "whose", "from", "if"}
)

# A poor opening in every place that a docstring has, and a function without any.
PLANTED = '''"""{0} a module is."""

class _Private:
    """{0} a class is."""

    async def method(self):
        """
        {0} a method is.
        """

    @property
    def _property(self):
        def inner():
            """`{0}` an inner function is."""

def stub(): ...
'''


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 0, "an example stands outside of a docstring that doctest finds"
    assert result.failed == 0


def poor_openings(source: str) -> list[str]:
    """Return line and first sentence of the docstrings that begin with one of `OPENINGS`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node) or ""
            first = re.match(r"\W*([^\W\d_]+)", text)
            if first is not None and first[1].lower() in OPENINGS:
                found.append(f"{node.body[0].lineno}: {text.splitlines()[0]}")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_begin_with_a_verb_or_a_noun(path: Path) -> None:
    found = poor_openings(path.read_text(encoding="utf-8"))
    assert not found, "begin with a verb or a noun phrase, such as `Tell whether ...`:\n" + "\n".join(found)


@pytest.mark.parametrize("word", sorted(OPENINGS))
def test_poor_openings_are_found_in_every_kind_of_docstring(word: str) -> None:
    lines = [int(line.partition(":")[0]) for line in poor_openings(PLANTED.format(word.capitalize()))]
    assert lines == [1, 4, 7, 14]


@pytest.mark.parametrize("opening", ["Tell whether", "Return what", "Howl that", "Fromage of", "3 frames where"])
def test_other_openings_pass(opening: str) -> None:
    assert poor_openings(PLANTED.format(opening)) == []
