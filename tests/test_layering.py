"""Which room of the package may know which: the table of `docs/design.md`, held against every import."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = "lightning_esp"
ROOT = Path(__file__).parents[1] / PACKAGE

# Rooms that hold frozen results, known by type alone.
RESULTS = {"quantization.model", "streaming.model", "verification.model"}

# Every room may also know these.
EVERYWHERE = {"config", "errors", "options"}

# Rooms that the design has and the package may not have yet.
PLANNED: set[str] = set()

# Room: the rooms, or modules of a room, that it may import.
MAY_KNOW: dict[str, set[str]] = {
    "__init__": {
        "audit",
        "bundle",
        "calibration",
        "callback",
        "pipeline",
        "quantization",
        "simulation",
        "streaming",
        "verification",
    },
    "__main__": {"cli"},
    "callback": {"bundle", "evaluation", "listening", "pipeline", "streaming", "task_metrics", "training"},
    "task_metrics": {"integers", "training", "verification"},
    "training": {"evaluation", "frontend", "streaming"},
    "audit": {"bundle", "espdl", "integers", "quantization.model", "verification"},
    "analysis": {"calibration", "integers", "quantization", "streaming"},
    "climb": {"analysis", "calibration", "cost", "integers", "quantization", "streaming", "verification"},
    "cli": {
        "audit",
        "bundle",
        "callback",
        "espdl",
        "evaluation",
        "frontend",
        "integers",
        "quantization.model",
        "report",
        "resources",
        "training",
    },
    "pipeline": {
        "cost",
        "analysis",
        "bundle",
        "calibration",
        "climb",
        "evaluation",
        "frontend",
        "hearing",
        "integers",
        "listening",
        "quantization",
        "streaming",
        "verification",
    },
    "hearing": {"cost", "frontend", "quantization.model", "streaming", "verification"},
    "listening": {"evaluation", "frontend", "streaming"},
    "simulation": {"bundle", "frontend", "integers", "quantization.job", "quantization.model", "streaming"},
    "report": set(),
    "resources": set(),
    "bundle": {*RESULTS, "cost", "evaluation", "frontend", "report", "resources"},
    "verification": {"cost", "espdl", "integers", "quantization", "streaming"},
    "integers": {"espdl", "quantization.job", "quantization.model", "quantization.values", "streaming"},
    "quantization": {"calibration", "cost", "espdl", "streaming"},
    "cost": {"espdl"},
    "calibration": {"streaming"},
    "espdl": set(),
    "streaming": {"cost"},
    "frontend": set(),
    "evaluation": set(),
    "config": {"options"},
    "options": set(),
    "errors": set(),
}

LIGHTNING = {"lightning", "pytorch_lightning", "torchmetrics"}

# Room: what it may import beside the standard library.
MAY_USE: dict[str, set[str]] = {
    "__init__": set(),
    "__main__": set(),
    "callback": {"torch", *LIGHTNING},
    "task_metrics": {"torch", *LIGHTNING},
    "training": {"numpy", "torch", "yaml", *LIGHTNING},
    "analysis": {"numpy", "torch"},
    "audit": {"numpy"},
    "climb": {"torch"},
    "cli": {"matplotlib", "numpy", "sounddevice", "torch", "tqdm"},
    "hearing": {"numpy", "torch"},
    "pipeline": {"torch"},
    "listening": {"torch"},
    "report": set(),
    "resources": set(),
    "bundle": {"cryptography", "numpy"},
    "verification": {"numpy", "torch"},
    "integers": {"numpy", "torch"},
    "simulation": {"torch"},
    "quantization": {"esp_ppq", "numpy", "onnx", "onnxsim", "torch"},
    "cost": {"numpy"},
    "calibration": {"torch"},
    "espdl": {"numpy"},
    "streaming": {"torch"},
    "frontend": {"numpy", "soundfile", "torch"},
    "evaluation": {"numpy", "torch", "torchmetrics"},
    "config": set(),
    "options": set(),
    "errors": set(),
}


def find_imports(source: str) -> Iterator[str]:
    """Dotted names that a file imports, wherever in it: at its top, in a function, or by `import_module("...")`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            yield from (part.value for part in node.args[:1] if isinstance(part, ast.Constant))


def room_of(module: str) -> str:
    """The room of a module that is named without the package."""
    return module.split(".")[0] or "__init__"


def breaches(room: str, imported: str) -> str:
    """Why a room may not import a dotted name; empty where it may."""
    first, _, inside = imported.partition(".")
    if first == PACKAGE:
        # `import lightning_esp` alone is how a module finds the directory of the package.
        known = MAY_KNOW[room] | EVERYWHERE | {room}
        fits = not inside or any(f"{inside}.".startswith(f"{entry}.") for entry in known)
        return "" if fits else f"{room} may not know {inside}; it may know {sorted(known)}"
    if first in sys.stdlib_module_names or first in MAY_USE[room]:
        return ""
    return f"{room} may not use {first}; it may use {sorted(MAY_USE[room])}"


def modules() -> list[tuple[str, Path]]:
    """The room and path of every file of the package."""
    paths = sorted(ROOT.rglob("*.py"))
    return [(room_of(path.relative_to(ROOT).with_suffix("").parts[0]), path) for path in paths]


def test_every_room_has_its_row() -> None:
    rooms = {room for room, _ in modules()}
    assert rooms | PLANNED == set(MAY_KNOW), "a room and its row come and go together, here and in docs/design.md"
    assert set(MAY_KNOW) == set(MAY_USE)


def test_the_table_has_no_circle() -> None:
    rooms = {room: {room_of(entry) for entry in known} for room, known in MAY_KNOW.items()}
    assert set(TopologicalSorter(rooms).static_order()) == set(rooms)
    assert set(rooms) - set().union(*rooms.values()) - EVERYWHERE == {"__init__", "__main__"}


@pytest.mark.parametrize(("room", "path"), [pytest.param(*m, id=str(m[1].relative_to(ROOT))) for m in modules()])
def test_a_file_imports_only_what_its_room_may(room: str, path: Path) -> None:
    found = [breaches(room, name) for name in find_imports(path.read_text(encoding="utf-8"))]
    assert [breach for breach in found if breach] == []


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("streaming", "import numpy"),
        ("streaming", "def f():\n    from lightning_esp.calibration import calibrate"),
        ("espdl", "import torch.nn as nn"),
        ("bundle", "from lightning_esp.quantization import quantize"),
        ("bundle", "from lightning_esp.quantization.modelling import x"),
        ("pipeline", "import importlib\nimportlib.import_module('pytorch_lightning')"),
        ("verification", "from esp_ppq.api import espdl_quantize_onnx"),
        ("quantization", "from lightning_esp import export"),
    ],
)
def test_a_planted_import_is_found(room: str, source: str) -> None:
    assert any(breaches(room, name) for name in find_imports(source))
