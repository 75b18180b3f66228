"""The Python blocks of the README run, and print what stands below them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```python\n(.*?)^```$(?:\n\n^```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)\)")


def line_before(position: int) -> int:
    """Number of lines in front of a position, so that a traceback names the right line of the README."""
    return README.count("\n", 0, position)


def blocks() -> list[Any]:
    """Each Python block with what it is said to print."""
    return [
        pytest.param(
            line_before(found.start(1)) * "\n" + found[1], found[2], id=f"line {line_before(found.start(1)) + 1}"
        )
        for found in BLOCK.finditer(README)
    ]


def test_no_block_is_missed() -> None:
    assert len(blocks()) == README.count("```python") >= 4


# Lightning's advice about the size of the example, which is small on purpose, and about a logger that it may lack.
@pytest.mark.filterwarnings("ignore:.*`tensorboardX` has been removed")
@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:The number of training batches")
@pytest.mark.parametrize(("code", "printed"), blocks())
def test_a_block_runs_as_it_stands(
    code: str, printed: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(code, str(ROOT / "README.md"), "exec"), {"__name__": "readme"})
    if printed is not None:
        assert capsys.readouterr().out == printed


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/design.md"])
def test_links_lead_somewhere(page: str) -> None:
    links = LINK.findall((ROOT / page).read_text(encoding="utf-8"))
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []


def test_every_make_target_that_is_named_exists() -> None:
    pages = README + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", pages, re.MULTILINE))
    defined = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {"demo", "test", "check"} <= named <= defined
