"""The rooms of the package: read from `docs/rooms.toml`, found in the sources, written into `docs/design.md`.

`python -m tests.support.rooms` writes the table.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PACKAGE = "lightning_esp"
TOP = Path(__file__).parents[2]
ROOT = TOP / PACKAGE
PAGE = TOP / "docs" / "design.md"

# Known to every room.
EVERYWHERE = frozenset({"chips", "config", "errors", "options", "versions"})

_BEGIN, _END = "<!-- rooms: python -m tests.support.rooms -->\n", "<!-- end of rooms -->\n"


@dataclass(frozen=True)
class Room:
    """A folder or a file at the top of the package.

    Args:
        owns: what is done there.
        may_know: rooms that it may import.
        may_use: what it may import beside the standard library.
    """

    owns: str
    may_know: frozenset[str]
    may_use: frozenset[str]


def read_rooms() -> dict[str, Room]:
    """The rooms by name, in the order of `docs/rooms.toml`."""
    table = tomllib.loads((TOP / "docs" / "rooms.toml").read_text(encoding="utf-8"))
    return {
        name: Room(row["owns"], frozenset(row["may_know"]), frozenset(row["may_use"])) for name, row in table.items()
    }


def modules() -> dict[str, Path]:
    """The files of the package by dotted name; a package by the name of its folder."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(TOP).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def room_of(module: str) -> str:
    """The room of a module by its dotted name; that of the package itself is `__init__`."""
    return [*module.split("."), "__init__"][1]


def find_imports(source: str) -> Iterator[tuple[str, str]]:
    """Module and name of whatever a file imports, wherever in it: at its top, in a function, for a type checker."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            yield from ((str(node.module), alias.name) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            yield from ((str(part.value), "") for part in node.args[:1] if isinstance(part, ast.Constant))


def is_deep(module: str, imported: str) -> bool:
    """Tell whether a module imports from inside another room, past its facade."""
    return room_of(imported) not in {room_of(module), "__init__"} and imported.count(".") > 1


def render_table() -> str:
    """The table of rooms in Markdown."""
    rows = ["| room | owns | may know |", "| --- | --- | --- |"]
    for name, room in read_rooms().items():
        title = f"`{name}/`" if (ROOT / name).is_dir() else f"`{name}.py`"
        known = ", ".join(f"`{other}`" for other in sorted(room.may_know)) or "–"
        rows.append(f"| {title} | {room.owns} | {known} |")
    return "\n".join(rows) + "\n"


def with_table(page: str) -> str:
    """The page with the table of today in its place."""
    before, rest = page.split(_BEGIN)
    return before + _BEGIN + render_table() + _END + rest.split(_END)[1]


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
