"""Facts that many files need are written in one of them."""

from __future__ import annotations

import ast
import re

import pytest

from lightning_esp import chips, versions
from tests.support.rooms import TOP, modules


def constants(module: str) -> list[object]:
    """The constants of a file, its docstrings among them."""
    tree = ast.parse(modules()[module].read_text(encoding="utf-8"))
    return [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]


def tuples(module: str) -> list[set[object]]:
    """The tuples and lists of constants of a file."""
    tree = ast.parse(modules()[module].read_text(encoding="utf-8"))
    found = [node.elts for node in ast.walk(tree) if isinstance(node, ast.Tuple | ast.List | ast.Set)]
    return [{each.value for each in elements if isinstance(each, ast.Constant)} for elements in found]


def test_sets_of_chips_have_one_home() -> None:
    ours = [set(chips.HALF_EVEN_TARGETS), set(chips.SOFT_FLOAT_TARGETS), set(chips.TARGETS)]
    homes = [module for module in modules() if any(found in ours for found in tuples(module))]
    assert homes == ["lightning_esp.chips"]


def test_versions_have_one_home() -> None:
    homes = {
        module
        for module in modules()
        for value in constants(module)
        if isinstance(value, str) and (versions.ESP_PPQ in value or value in (versions.ESP_DL, versions.ESP_IDF))
    }
    assert homes == {"lightning_esp.versions"}


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_what_is_installed_is_the_version_that_was_measured(name: str) -> None:
    found = re.findall(r"esp-ppq==([\d.]+)", (TOP / name).read_text(encoding="utf-8"))
    assert found == [versions.ESP_PPQ]
