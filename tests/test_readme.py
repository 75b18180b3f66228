"""The Python blocks of the README and of the pages in docs/ run, and print what stands below them."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import lightning_esp
from lightning_esp import errors

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in PAGES}
MOST_README_LINES = 120
BLOCK = re.compile(r"^```python\n(.*?)^```$(?:\n\n^```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")


def line_before(text: str, position: int) -> int:
    """Number of lines in front of a position, so that a traceback names the right line of the page."""
    return text.count("\n", 0, position)


def blocks() -> list[Any]:
    """Each Python block, behind the lines of its page, with what it is said to print."""
    return [
        pytest.param(
            page,
            line_before(text, found.start(1)) * "\n" + found[1],
            found[2],
            id=f"{page} line {line_before(text, found.start(1)) + 1}",
        )
        for page, text in TEXTS.items()
        for found in BLOCK.finditer(text)
    ]


def test_no_block_is_missed() -> None:
    assert len(blocks()) == sum(text.count("```python") for text in TEXTS.values()) >= 9


def test_the_readme_fits_the_eye() -> None:
    assert len(TEXTS["README.md"].splitlines()) <= MOST_README_LINES


# Lightning's advice about the size of the examples, which are small on purpose, about a logger that they may lack, and about
# a validation loop that the shortest of them has no need of.
@pytest.mark.filterwarnings("ignore:.*`tensorboardX` has been removed")
@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:The number of training batches")
@pytest.mark.parametrize(("page", "code", "printed"), blocks())
def test_a_block_runs_as_it_stands(
    page: str,
    code: str,
    printed: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(code, str(ROOT / page), "exec"), {"__name__": "readme"})
    if printed is not None:
        assert capsys.readouterr().out == printed


@pytest.mark.parametrize("page", [*TEXTS, "CONTRIBUTING.md"])
def test_links_lead_somewhere(page: str) -> None:
    links = LINK.findall((ROOT / page).read_text(encoding="utf-8"))
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []


def test_every_make_target_that_is_named_exists() -> None:
    pages = "\n".join([*TEXTS.values(), (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")])
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)(?=[`\s]*(?:$|#|`))", pages, re.MULTILINE))
    defined = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {"demo", "test", "check", "docs"} <= named <= defined


def test_every_error_has_its_place_in_troubleshooting() -> None:
    classes = [name for name, _ in inspect.getmembers(errors, inspect.isclass)]
    headings = re.findall(r"^##+ (\w+)$", TEXTS["docs/troubleshooting.md"], re.MULTILINE)
    assert sorted(headings) == sorted(classes)


def test_every_public_name_has_its_place_in_the_reference() -> None:
    pages = "\n".join(text for page, text in TEXTS.items() if page.startswith("docs/reference/"))
    shown = re.findall(r"^::: lightning_esp\.(\w+)$", pages, re.MULTILINE)
    assert sorted(shown) == sorted({*lightning_esp.__all__, "errors"})
