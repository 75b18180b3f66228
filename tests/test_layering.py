"""Which room of the package may know which: `docs/rooms.toml`, held against every import."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.support.rooms import (
    EVERYWHERE,
    PACKAGE,
    PAGE,
    find_imports,
    is_deep,
    modules,
    read_rooms,
    room_of,
    with_table,
)

ROOMS = read_rooms()
MODULES = modules()


def breach(module: str, imported: str) -> str:
    """Why a module may not import another; empty where it may."""
    room, first = room_of(module), imported.split(".")[0]
    if first == PACKAGE:
        # `import lightning_esp` alone is how a module finds the directory of the package.
        known = ROOMS[room].may_know | EVERYWHERE | {room, "__init__"}
        other = room_of(imported)
        if other not in known:
            return f"{module}: {room} may not know {other}; it may know {sorted(known)}"
        return (
            f"{module}: import from the facade {PACKAGE}.{other}, not {imported}" if is_deep(module, imported) else ""
        )
    if first in sys.stdlib_module_names or first in ROOMS[room].may_use:
        return ""
    return f"{module}: {room} may not use {first}; it may use {sorted(ROOMS[room].may_use)}"


def imported_modules(module: str, source: str) -> set[str]:
    """Modules of the package that a file reads when it is imported, or later; its own facade is none of them."""
    found = set()
    for base, name in find_imports(source):
        target = f"{base}.{name}" if f"{base}.{name}" in MODULES else base
        if target in MODULES and not module.startswith(f"{target}."):
            found.add(target)
    return found - {module}


def circle(graph: dict[str, Iterable[str]]) -> list[str]:
    """A circle in a graph; empty where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_every_room_has_its_row() -> None:
    assert {room_of(module) for module in MODULES} == set(ROOMS), "a room and its row come and go together"


def test_the_rooms_have_no_circle() -> None:
    assert circle({name: room.may_know for name, room in ROOMS.items()}) == []
    assert set(ROOMS) - set().union(*(room.may_know for room in ROOMS.values())) - EVERYWHERE == {
        "__init__",
        "__main__",
    }


def test_the_files_have_no_circle() -> None:
    """Not among the files of a room either, whether an import is lazy or for a type checker alone."""
    sources = {module: path.read_text(encoding="utf-8") for module, path in MODULES.items()}
    graph = {module: imported_modules(module, source) for module, source in sources.items() if module != PACKAGE}
    assert len(graph) > 250
    assert circle(graph) == []
    assert circle({**graph, f"{PACKAGE}.errors": [f"{PACKAGE}.config"]}) != [], "a planted circle is found"


def test_the_page_has_the_table_of_rooms() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_table(page), "run `python -m tests.support.rooms`"


@pytest.mark.parametrize(("module", "path"), [pytest.param(*m, id=m[0]) for m in MODULES.items()])
def test_a_file_imports_only_what_its_room_may(module: str, path: Path) -> None:
    found = [breach(module, base) for base, _ in find_imports(path.read_text(encoding="utf-8"))]
    assert [each for each in found if each] == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("lightning_esp.conversion.axes", "import numpy"),
        ("lightning_esp.conversion.axes", "def f():\n    from lightning_esp.calibration import calibrate"),
        ("lightning_esp.espdl.reader", "import torch.nn as nn"),
        ("lightning_esp.bundle.writer", "from lightning_esp.precision import analyze"),
        ("lightning_esp.bundle.writer", "from lightning_esp.quantization.job import x"),
        ("lightning_esp.pipeline", "import importlib\nimportlib.import_module('pytorch_lightning')"),
        ("lightning_esp.verification.verify", "from esp_ppq.api import espdl_quantize_onnx"),
        ("lightning_esp.quantization.job", "from lightning_esp.pipeline import export"),
    ],
)
def test_a_planted_import_is_found(module: str, source: str) -> None:
    assert any(breach(module, base) for base, _ in find_imports(source))
