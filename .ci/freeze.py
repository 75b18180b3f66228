"""Print the packages of this environment as pins for `constraints.txt`; `make constraints` runs it.

A package that no longer supports the oldest Python of `pyproject.toml` is pinned from the next Python on, so that pip
may choose an older release there.
"""

from __future__ import annotations

import re
from importlib.metadata import distributions

from packaging.specifiers import SpecifierSet

OLDEST, NEXT = "3.10", "3.11"
OURS = ("lightning-esp", "pip")
HEADER = """\
# The set of packages that the project was tested with, for `pip install -c`; written by `make constraints`."""


def main() -> None:
    """Print one line per installed package, in alphabetical order."""
    lines = {}
    for package in distributions():
        name = re.sub(r"[-_.]+", "-", package.metadata["Name"]).lower()
        supported = SpecifierSet(package.metadata["Requires-Python"] or "")
        marker = "" if supported.contains(f"{OLDEST}.99") else f'; python_version >= "{NEXT}"'
        lines[name] = f"{name}=={package.version}{marker}"
    print(HEADER, *(lines[name] for name in sorted(lines.keys() - set(OURS))), sep="\n")


if __name__ == "__main__":
    main()
