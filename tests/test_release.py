"""One version in package, components and changelog, and a changelog in the form that `docs/release.md` asks for."""

from __future__ import annotations

import re
from datetime import date
from itertools import pairwise
from pathlib import Path

import pytest

import lightning_esp

ROOT = Path(__file__).parents[1]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
COMPONENTS = sorted((ROOT / "idf_project/components").glob("*/idf_component.yml"))
RELEASES = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (.+)$", CHANGELOG, re.MULTILINE)
GROUPS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]


def headings(text: str, level: int) -> list[str]:
    return re.findall(rf"^{'#' * level} (.+)$", text, re.MULTILINE)


def sections() -> dict[str, str]:
    """Text of each version, below its heading."""
    parts = re.split(r"^## (.+)$", CHANGELOG, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_the_changelog_ends_in_the_version_of_the_package() -> None:
    assert RELEASES[0][0] == lightning_esp.__version__


@pytest.mark.parametrize("manifest", COMPONENTS, ids=lambda path: path.parent.name)
def test_a_component_has_the_version_of_the_package(manifest: Path) -> None:
    """The heading in the component's own changelog is held by `tests/cpp/test_components.py`."""
    assert re.findall(r'^version: "(.+)"$', manifest.read_text(encoding="utf-8"), re.MULTILINE) == [
        lightning_esp.__version__
    ]


def test_there_are_components() -> None:
    assert len(COMPONENTS) >= 5


def test_the_package_is_built_with_that_version() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'dynamic = ["version"]' in pyproject
    assert '[tool.hatch.version]\npath = "lightning_esp/__init__.py"' in pyproject


def test_what_is_unreleased_comes_first_and_versions_fall() -> None:
    assert headings(CHANGELOG, 2) == ["[Unreleased]", *(f"[{version}] - {day}" for version, day in RELEASES)]
    numbers = [tuple(map(int, version.split("."))) for version, _ in RELEASES]
    assert all(newer > older for newer, older in pairwise(numbers))
    days = [date.fromisoformat(day) for _, day in RELEASES]
    assert all(newer >= older for newer, older in pairwise(days))


@pytest.mark.parametrize("version", sections())
def test_a_version_has_the_groups_of_keep_a_changelog(version: str) -> None:
    found = headings(sections()[version], 3)
    assert found
    assert set(found) <= set(GROUPS)
    assert len(found) == len(set(found))
    before = sections()[version].split("\n### ")[0]
    assert not re.search("^- ", before, re.MULTILINE), "a line stands above the groups"


@pytest.mark.parametrize("version", [f"[{version}] - {day}" for version, day in RELEASES])
def test_a_released_version_has_no_empty_group(version: str) -> None:
    groups = re.split(r"^### .+$", sections()[version], flags=re.MULTILINE)[1:]
    assert all(re.search("^- ", group, re.MULTILINE) for group in groups)
