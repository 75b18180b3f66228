"""Data that come with the package: the ESP-IDF project and the recipes."""

from __future__ import annotations

from pathlib import Path


def find_resource(name: str) -> Path:
    """Return the folder of that name: inside the package of an installation, beside it in the repository."""
    package = Path(__file__).parent
    inside = package / name
    return inside if inside.is_dir() else package.parent / name
