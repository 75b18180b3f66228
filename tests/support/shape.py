"""The shape of the house in figures: `python -m tests.support.shape`, with `--export` also the path of an export."""

from __future__ import annotations

import ast
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

from tests.support.rooms import EVERYWHERE, PACKAGE, ROOT, TOP, find_imports, is_deep, modules, room_of

# A docstring says what something is or does; these words begin a riddle.
RIDDLES = re.compile(r"(What|How|Whether|Where|Why|Which|When|Who|Whose)\b")


def trees() -> dict[str, ast.Module]:
    """The syntax trees of the package's files by dotted name."""
    return {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in modules().items()}


def riddles(tree: ast.Module) -> list[str]:
    """First lines of the docstrings in a file that begin with a question word."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = (ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, documented))
    return [text.splitlines()[0] for text in found if text and RIDDLES.match(text)]


def repeated_types() -> dict[str, int]:
    """Names that several classes of the package have, private ones aside."""
    names = (node.name for tree in trees().values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    return {name: n for name, n in Counter(names).items() if n > 1 and not name.startswith("_")}


def imports_between_rooms() -> list[tuple[str, str]]:
    """Module and imported module of every import from another room; `EVERYWHERE` aside."""
    found = []
    for module, path in modules().items():
        for base, _ in find_imports(path.read_text(encoding="utf-8")):
            if base.startswith(f"{PACKAGE}.") and room_of(base) not in {room_of(module), *EVERYWHERE}:
                found.append((module, base))
    return sorted(set(found))


def path_of_an_export() -> tuple[int, int, int]:
    """Files and functions of the package that an export of a small network runs through in this process, and its depth."""
    import torch
    from torch import nn

    from lightning_esp import export

    seen: set[tuple[str, str]] = set()
    depth = 0

    def look(frame: FrameType, event: str, _: Any) -> None:
        nonlocal depth
        if event != "call" or not frame.f_code.co_filename.startswith(str(ROOT)):
            return
        seen.add((frame.f_code.co_filename, frame.f_code.co_qualname))
        own, caller = 0, frame
        while caller is not None:
            own += caller.f_code.co_filename.startswith(str(ROOT))
            caller = caller.f_back  # type: ignore[assignment]
        depth = max(depth, own)

    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv1d(4, 8, 3), nn.ReLU(), nn.Conv1d(8, 2, 1))
    with tempfile.TemporaryDirectory() as folder:
        sys.setprofile(look)
        try:
            export(network, [torch.randn(4, 60) for _ in range(4)], Path(folder) / "bundle")
        finally:
            sys.setprofile(None)
    return len({file for file, _ in seen}), len(seen), depth


def main() -> None:
    """Print the figures."""
    between = imports_between_rooms()
    names = Counter(path.name for path in modules().values() if path.name != "__init__.py")
    print(
        f"rooms (folders):                        {sum(path.is_dir() for path in ROOT.iterdir() if path.name[0] != '_')}"
    )
    print(f"imports from one room to another:       {len(between)}")
    print(f"  past the facade:                      {sum(is_deep(*pair) for pair in between)}")
    print(f"docstrings that begin with a question:  {sum(len(riddles(tree)) for tree in trees().values())}")
    print(f"names of several public classes:        {repeated_types() or 0}")
    print(f"most frequent file name:                {names.most_common(1)[0]}")
    print(
        f"lines of the README:                    {len((TOP / 'README.md').read_text(encoding='utf-8').splitlines())}"
    )
    if "--export" in sys.argv:
        files, functions, depth = path_of_an_export()
        print(f"path of an export:                      {files} files, {functions} functions, depth {depth}")


if __name__ == "__main__":
    main()
